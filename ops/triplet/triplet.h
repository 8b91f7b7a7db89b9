// Metric learning by triplets: every query scores its positive above its negatives, one by one.
//
//   x_ij = (q_i·k_j - q_i·k_positive(i)) / temperature        loss_i = mean_j f(x_ij),  j neither positive nor left out
//   margin    f(x) = max(0, margin + x)   With rows of length 1 and temperature 1/2, x = d+² - d-² of Euclidean
//                                         distances (Schroff et al., "FaceNet", 2015, equation 3)
//   logistic  f(x) = log(1 + exp(x))      InfoNCE with one negative, pair by pair (Sohn, "Improved deep metric
//                                         learning with multi-class N-pair loss objective", 2016, section 2)
//
// All negatives of the batch make a triplet each, so that nothing is mined. Who is whose negative is said as for
// InfoNCE (ops/info_nce/info_nce.h), and the work is shared by ranks in the same way: each does the rows of its own
// queries, three numbers per row travel, and each does the gradients of its own keys.
#pragma once

#include "ops/info_nce/info_nce.h"

namespace tsugi {

enum class TripletForm { kMargin, kLogistic };

struct Triplets {
  InfoNce pairs;  ///< without classes: one positive
  TripletForm form = TripletForm::kMargin;
  float margin = 0.2f;  ///< of kMargin
};

/// Numbers that a row tells all keys.
inline constexpr int64_t kTripletFacts = 3;

/// `facts` f64 [R, kTripletFacts] receives the score of each row's positive, the mean of f' and 1 / negatives (zeros
/// where the row is ignored or has no negatives; then it has no loss, but counts). `d_queries` f32 [R, D], where
/// defined, the gradient of the *sum* of the losses. `nearest`: rows whose positive scores above all negatives. The
/// result does not depend on the number of threads. On CUDA positives that are no keys make the sum NaN.
InfoNceSum triplet(const Context& context, const Triplets& problem, const Tensor& facts, const Tensor& d_queries);

/// d_keys f32 [N, D] = the gradient of the same sum through keys [first_key, first_key + N).
void triplet_key_gradient(const Context& context, const Triplets& problem, const Tensor& facts, int64_t first_key,
                          const Tensor& d_keys);

namespace reference {
/// The same in double; gradients are written where the spans are not empty.
InfoNceSum triplet(const InfoNce& shape, TripletForm form, double margin, std::span<const double> queries,
                   std::span<const double> keys, std::span<const int32_t> positives,
                   std::span<const int32_t> query_groups, std::span<const int32_t> key_groups,
                   std::span<double> d_queries, std::span<double> d_keys);
}  // namespace reference

}  // namespace tsugi
