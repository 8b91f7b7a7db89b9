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

/// What this process has once it has trained on this machine's CPUs: trains one block and lets go of it. What stays are
/// the pages of the program and of its libraries that training touches, compiled products, the threads. The block is
/// one of `run` (validated) where that is a language model of which one block takes at most 256 MiB, or else one that
/// takes less than one and computes in the same type. Before anything large is allocated.
int64_t measure_program_bytes(ThreadPool& pool, const RunConfig& run);

}  // namespace tsugi
