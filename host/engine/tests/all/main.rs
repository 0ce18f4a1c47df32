//! The tests of the engine, in one program: one link instead of one for each subject.

mod approval;
mod cancelled;
mod clock;
mod decisions;
mod defaults;
mod drift;
mod dry_run;
mod guard;
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
mod stopped;
mod support;
mod told_waiting;
mod traps;
mod undo_input;
mod undo_kept;
mod unobservable;
mod window;
