// What every command that runs on ranks has in common: join, work, leave with the right exit code.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "dist/world.h"
#include "ops/base/error.h"

namespace tsugi {

/// Prints "tsugi: error: …" and the hint on standard error; `rank` < 0: no rank is named.
void print_error(const Error& error, int rank = -1);

/// Joins the world, runs `body` and returns its exit code. An Error that all ranks share is printed by rank 0 alone and
/// becomes the exit code; one that only this rank knows of ends the whole job at once, since peers would wait for ever.
int run_in_world(const WorldOptions& options, const std::function<int(World&)>& body);

/// Threads and time limit of a run configuration. They are needed before the ranks can talk, so that mistakes in the
/// file are left for when they can.
WorldOptions world_options(const std::string& config, const std::vector<std::string>& overrides);

/// validate_run() of what `path` says: its complaints name the file.
void validate_run_of(const std::string& path, RunConfig& config);

/// Runs `body` on every rank; if it throws on any of them, all throw the same Error.
void on_all_ranks(Communicator& communicator, const std::function<void()>& body);

}  // namespace tsugi
