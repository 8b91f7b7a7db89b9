// Profile likelihood: how far one parameter can be moved, all others refitted, before the fit is visibly worse. It
// shows one-sided and open valleys that a bootstrap around one minimum cannot.
#pragma once

#include "core/scaling/fit/bootstrap.h"
#include "core/scaling/fit/fit.h"

namespace tsugi {

/// {p : min over the others of S(p) - S_min <= c·χ²₁(0.95)/2}, in public values. c is the scale of the M-estimator's
/// likelihood-ratio test, mean(ψ²)/mean(ψ') · runs/(runs - parameters) (Heritier and Ronchetti 1994, "Robust
/// bounded-influence tests in general parametric models"); for least squares it is the residual variance. An end that
/// is not reached within 1000 times the parameter's standard error is open: infinite (or 0 for a positive parameter).
Interval profile_interval(const Fit& fit, std::span<const SweepRun> runs, int parameter);

}  // namespace tsugi
