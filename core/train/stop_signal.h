// Being asked to stop: by the user (Ctrl-C), by the batch system before its time is up, by whoever restarts the host.
#pragma once

namespace tsugi {

/// From now on SIGTERM, SIGUSR1, SIGINT and SIGHUP only note that a stop is wanted; the training loop agrees on it at
/// the end of a step, saves and leaves with exit code 75. A SIGINT more than a second after the first one ends the
/// process at once, for a user who will not wait; one within the second is the same key press, delivered by the
/// terminal and by the launcher. SIGINT and SIGHUP that the parent had ignored (nohup, background jobs) stay ignored.
/// SIGPIPE is ignored: a reader that leaves must not end a run.
///
/// Call it after MPI_Init, which installs handlers of its own. A repeated call does no harm.
void install_stop_signals();

/// Whether any of them has come to this rank.
bool stop_requested();

/// The first of them, 0 for none.
int stop_signal();

/// Forgets a stop that has been dealt with.
void clear_stop_request();

}  // namespace tsugi
