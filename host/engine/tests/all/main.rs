//! The tests of the engine, in one program: one link instead of one for each subject.

mod approval;
mod cancelled;
mod clock;
mod decisions;
mod defaults;
mod drift;
mod dry_run;
mod guard;
mod immediate_stop;
mod items;
mod leases;
mod leftovers;
mod manual;
mod nested;
mod order;
mod retry_random;
mod retry_run;
mod runs;
mod slow;
mod support;
mod traps;
mod undo_dependencies;
mod undo_input;
mod unobservable;
mod waiting_notifications;
mod window;
