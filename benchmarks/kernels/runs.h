// Running a case: its time, and whether its results are the same every time and those of another kernel.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/kernels/cases.h"
#include "ops/cuda/runtime.h"

namespace tsugi::benchmarks {

/// Seconds.
struct Times {
  double median = 0.0, least = 0.0, greatest = 0.0;
};

/// Of `repeats` runs, each with a cold cache: `scrub` is written before it, which also takes the host's launches off
/// the critical path.
Times measure(cuda::Stream& stream, const Work& work, const cuda::Buffer& scrub, int repeats);

/// The beginning (64 MiB) of every result of one run.
struct Outcome {
  std::vector<std::vector<std::byte>> results;
  bool same_bits = true;  ///< in every other run
};

/// Runs the case `runs` times. All of the outcome is compared in the first three, later a sixteenth, another each time.
Outcome run_again(cuda::Stream& stream, const Work& work, int runs);

/// ‖a − b‖/‖b‖ over all results, which are of the types of `work`: f32 or bf16.
double difference(const Work& work, const Outcome& a, const Outcome& b);

}  // namespace tsugi::benchmarks
