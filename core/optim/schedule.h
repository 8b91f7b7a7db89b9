// The learning rate of every update.
#pragma once

#include <cstdint>

#include "core/config/run.pb.h"

namespace tsugi {

/// Learning rate of update number `step` + 1 of `steps` (step counts from 0; at and beyond `steps` it is that of the
/// end). With peak p, end e = p·final_fraction, w warm-up steps:
///   step < w            p·(step + 1)/(w + 1), as nanoGPT does: the first update is not wasted on a rate of 0
///   COSINE, LINEAR      from p at step w to e at step `steps` (Loshchilov and Hutter, "SGDR" (2017), equation 5,
///                       without restarts)
///   CONSTANT            p
///   WSD                 p, then e + (p - e)·(1 - sqrt(n/d)) in the n-th of the last d steps (Hägele et al., "Scaling
///                       laws and compute-optimal training beyond fixed training durations" (2024), the (1-sqrt)
///                       cooldown)
float learning_rate_at(const OptimizerConfig& optimizer, const ScheduleConfig& schedule, int64_t steps, int64_t step);

/// Steps that WSD decays: decay_steps, or a fifth of the run.
int64_t resolved_decay_steps(const ScheduleConfig& schedule, int64_t steps);

}  // namespace tsugi
