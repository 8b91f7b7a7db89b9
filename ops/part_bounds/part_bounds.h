// Lower bounds of the mutual information between wholes and their parts: of an image and its patches (Hjelm et al.,
// "Learning deep representations by mutual information estimation and maximization", 2019, section 3.1; Bachman et al.,
// "Learning representations by maximizing mutual information across views", 2019, section 3.3).
//
//   t_ij = scale·w_i·p_j        s_ij = clip·tanh(t_ij / clip), or t_ij where clip is 0
//   JSD      loss_i = mean_own (sp(-s_ij) - ln 2) + mean_others (sp(s_ij) - ln 2),  sp(s) = log(1 + exp s)
//   InfoNCE  loss_i = mean_own (log(exp(s_ij) + Σ_others exp(s_ik)) - s_ij)
//   and weight·(loss_i + penalty·mean_j t_ij²) is what a row adds
//
// own are the parts of whole i, others those of all other wholes: a part is compared with them and not with its
// siblings. The work is shared by ranks as that of ops/info_nce: each does the rows of its own wholes, two numbers per
// row travel, and each does the gradients of its own parts.
#pragma once

#include <span>

#include "ops/info_nce/info_nce.h"

namespace tsugi {

enum class PartBound { kJsd, kInfoNce };

struct PartScores {
  Tensor wholes;              ///< f32 [R, D]
  Tensor parts;               ///< f32 [K, D]
  Tensor whole_ids;           ///< i32 [R]
  Tensor part_ids;            ///< i32 [K]: of the whole that it is a part of
  int64_t parts_of_each = 1;  ///< among K, of every whole; there must be others
  PartBound bound = PartBound::kJsd;
  float scale = 1.0f;
  float clip = 0.0f;
  float penalty = 0.0f;
  float weight = 1.0f;
};

/// Rows [first, first + count) of a problem, against all of its parts.
PartScores whole_rows(const PartScores& problem, int64_t first, int64_t count);

/// Numbers that a row tells all parts.
inline constexpr int64_t kPartFacts = 2;

/// `facts` f64 [R, kPartFacts] receives of InfoNCE the logarithms of Σ_others exp(s_ik) and of the mean over own of
/// 1/(exp(s_ij) + Σ_others exp(s_ik)), else zeros. `d_wholes` f32 [R, D], where defined, the gradient of the *sum*.
/// `nearest`: rows of which a part of its own scores above all others. Scores exist for some rows at a time; the result
/// does not depend on the number of threads.
InfoNceSum part_bound(const Context& context, const PartScores& problem, const Tensor& facts, const Tensor& d_wholes);

/// d_parts f32 [N, D] = the gradient of the same sum through parts [first_part, first_part + N).
void part_bound_part_gradient(const Context& context, const PartScores& problem, const Tensor& facts,
                              int64_t first_part, const Tensor& d_parts);

namespace reference {
struct PartScores {
  int64_t wholes = 0;
  int64_t parts = 0;
  int64_t width = 0;
  PartBound bound = PartBound::kJsd;
  double scale = 1.0;
  double clip = 0.0;
  double penalty = 0.0;
  double weight = 1.0;
};
/// The same in double; gradients are written where the spans are not empty.
InfoNceSum part_bound(const PartScores& shape, std::span<const double> wholes, std::span<const double> parts,
                      std::span<const int32_t> whole_ids, std::span<const int32_t> part_ids, std::span<double> d_wholes,
                      std::span<double> d_parts);
}  // namespace reference

}  // namespace tsugi
