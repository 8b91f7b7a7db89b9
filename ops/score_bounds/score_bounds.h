// Lower bounds of mutual information from a matrix of scores T(x_i, y_j): the diagonal holds pairs that belong
// together, everything else pairs that do not.
//
//   Donsker–Varadhan   mean_i s_ii - log mean_i≠j exp(s_ij)      (Belghazi et al., "MINE", 2018, equation 10)
//   NWJ                mean_i s_ii - mean_i≠j exp(s_ij - 1)      (Nguyen, Wainwright, Jordan 2010; Poole et al. 2019)
//   JSD                mean_i (ln 2 - sp(-s_ii)) - mean_i≠j (sp(s_ij) - ln 2),  sp(s) = log(1 + exp s)
//                      (Hjelm et al., "Deep InfoMax", 2019, equation 4, shifted so that constant scores 0 give 0)
//   InfoNCE            mean_i (s_ii - log Σ_j exp(s_ij)) + ln N  (van den Oord et al. 2018), never above ln N
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

enum class ScoreBound { kDonskerVaradhan, kNwj, kJsd, kInfoNce };

/// What MINE divides by in the gradient of its logarithm: the moving average of E exp(s) over steps instead of one
/// batch's own mean, which would make the gradient of a small batch biased (Belghazi et al. 2018, section 3.2).
struct ScoreAverage {
  double decay = 0.99;
  double log_mean = 0.0;  ///< ln of the average; meaningless while `steps` is 0
  int64_t steps = 0;
};

/// The bound, in nats. scores f32 [N, N], N ≥ 2. `d_scores` f32 [N, N], where defined, receives its gradient, to be
/// followed upwards. `average`, for kDonskerVaradhan alone, takes in the batch first, then scales the gradient.
/// Exponentials and sums in double, row after row. A device computes the rows, and the host waits for them.
double score_bound(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& d_scores,
                   ScoreAverage* average = nullptr);

namespace reference {
/// The same from the formulas as they stand above.
double score_bound(ScoreBound kind, int64_t rows, std::span<const double> scores, std::span<double> d_scores);
}  // namespace reference

}  // namespace tsugi
