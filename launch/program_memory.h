// What the process takes beside what a plan counts: the program, its libraries and what they keep.
#pragma once

#include <cstdint>
#include <string>

#include "core/config/run.pb.h"
#include "ops/base/thread_pool.h"

namespace tsugi {

/// Memory of this process in bytes, by its name in /proc/self/status: what it has ("VmRSS:"), or the most that it has
/// had ("VmHWM:"). 0 where the system does not say.
int64_t resident_bytes(const std::string& which);

/// What this process has once it has trained on this machine's CPUs: trains a model of one block (some milliseconds, of
/// the same compute type, below a MiB) and lets go of it. What stays are the pages of the program and of its libraries
/// that training touches, compiled products, the threads. Before anything large is allocated.
int64_t measure_program_bytes(ThreadPool& pool, NumericsConfig::Compute compute);

}  // namespace tsugi
