// InfoNCE (van den Oord et al., "Representation learning with contrastive predictive coding", 2018, equation 4): every
// query names its positive among keys. With views as queries and keys it is SimCLR's NT-Xent (Chen et al. 2020,
// equation 1), with a queue of keys MoCo's loss (He et al. 2020, equation 1), with two kinds of features CLIP's.
//
//   s_ij = q_i·k_j / temperature      loss_i = log Σ_j∉X(i) exp(s_ij) - s_i,positive(i)
//
// X(i) are the keys that query i leaves out: itself, and what is known to be a false negative. They are given by groups
// instead of a mask of R×K: a query leaves out the keys of its own group, except its positive. SimCLR's group is the
// image: of its two views one is the query and the other the positive.
//
// Several positives P(i) (Khosla et al., "Supervised contrastive learning", 2020, equation 2) stand in the denominator
// too, and count alike:
//
//   loss_i = log Σ_j∉X(i) exp(s_ij) - (1/|P(i)|)·Σ_p∈P(i) s_ip
//
// One rank of many computes the rows of its own queries against the keys of all, and the gradients of its own keys from
// the queries of all and their log_sums: nothing but features and log_sums travels, and every sum over queries has one
// order, whoever forms it.
#pragma once

#include <span>

#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {

/// Group of a query that leaves out nothing, and of a key that is left out by all (padding).
inline constexpr int32_t kNoGroup = -1;

struct InfoNce {
  Tensor queries;       ///< f32 [R, D]
  Tensor keys;          ///< f32 [K, D]
  Tensor positives;     ///< i32 [R]: a key, which is never left out, or kIgnoreIndex: the row has no loss
  Tensor query_groups;  ///< i32 [R]
  Tensor key_groups;    ///< i32 [K]
  float temperature = 1.0f;
  /// Several positives: beside `positives`, the keys of the query's class that it does not leave out. Undefined: one.
  Tensor query_classes = {};    ///< i32 [R]
  Tensor key_classes = {};      ///< i32 [K]
  Tensor positive_counts = {};  ///< i32 [R]: |P(i)|
};

/// Rows [first, first + count) of a problem, against all of its keys.
InfoNce query_rows(const InfoNce& problem, int64_t first, int64_t count);

/// What the rows add up to, in row order.
struct InfoNceSum {
  LossSum loss;
  int64_t nearest = 0;  ///< rows of which a positive scores above all other keys that are not left out
};

/// `log_sums` f64 [R] receives log Σ_j exp(s_ij) (0 where ignored), `d_queries` f32 [R, D], where defined, the gradient
/// of the *sum* of the losses through the queries. Since Σ_j (∂loss/∂s_ij)·s_ij = d_queries_i·q_i, the gradient of the
/// sum with respect to ln(1 / temperature) is the sum of all elements of d_queries ⊙ queries.
/// Scores exist for some rows at a time. The result does not depend on the number of threads. On CUDA, where nobody
/// checks them, positives that are no keys make the sum NaN.
InfoNceSum info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums, const Tensor& d_queries);

/// d_keys f32 [N, D] = the gradient of the same sum through keys [first_key, first_key + N).
void info_nce_key_gradient(const Context& context, const InfoNce& problem, const Tensor& log_sums, int64_t first_key,
                           const Tensor& d_keys);

namespace reference {
struct InfoNce {
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t width = 0;
  double temperature = 1.0;
};
/// The same in double; gradients are written where the spans are not empty. Classes: several positives.
InfoNceSum info_nce(const InfoNce& shape, std::span<const double> queries, std::span<const double> keys,
                    std::span<const int32_t> positives, std::span<const int32_t> query_groups,
                    std::span<const int32_t> key_groups, std::span<double> d_queries, std::span<double> d_keys,
                    std::span<const int32_t> query_classes = {}, std::span<const int32_t> key_classes = {});
}  // namespace reference

}  // namespace tsugi
