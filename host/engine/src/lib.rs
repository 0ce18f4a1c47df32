//! Runbooks: model, plan, the state machine, execution, undo and recovery.
