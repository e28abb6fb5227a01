//! User timers: what each state may become. A timer that fired while a worker has the workflow task
//! can still be canceled by it, for the workflow has not seen it fire.

pub(crate) mod table {
    crate::transition::transitions! { "timer":
        STARTED: "-" => "pending", "START_TIMER", "TimerStarted";
        FIRED: "pending" => "-", "its time comes", "TimerFired";
        FIRED_BUFFERED: "pending" => "fired, not seen", "its time comes while a worker has the task", "";
        SEEN: "fired, not seen" => "-", "the workflow task ends", "TimerFired";
        CANCELED: "pending" => "-", "CANCEL_TIMER", "TimerCanceled";
        TAKEN_BACK: "fired, not seen" => "-", "CANCEL_TIMER", "TimerCanceled";
        DROPPED: "pending" => "-", "the run closes", "";
        RESTORED: "-" => "pending", "a reset to a point where it was pending", "";
    }
}
