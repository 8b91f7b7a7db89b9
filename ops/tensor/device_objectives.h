// What objectives need of a device beside the operators of a transformer and its cross-entropy: other losses, and
// comparisons of features. As DeviceOperators, which leads here: the functions mean what those of their names in ops/*/
// do, and are called on meta contexts too.
#pragma once

#include "ops/tensor/tensor.h"

namespace tsugi {

class Context;
enum class ScoreBound;
struct HiddenTokens;
struct InfoNce;
struct InfoNceSum;
struct LossSum;
struct PartScores;
struct TokenDraw;
struct Triplets;

class DeviceObjectives {
 public:
  virtual ~DeviceObjectives() = default;

  virtual LossSum squared_error(const Context& context, const Tensor& x, const Tensor& targets, const Tensor& indices,
                                bool normalize, const Tensor& d_x) = 0;
  virtual LossSum binary_cross_entropy(const Context& context, const Tensor& x, const Tensor& targets, float weight,
                                       const Tensor& d_x) = 0;

  virtual void draw_rows(const Context& context, const Tensor& scores, int64_t vocabulary, const TokenDraw& draw,
                         int64_t first_row, const Tensor& drawn) = 0;
  virtual void replace_tokens(const Context& context, const HiddenTokens& hidden, const Tensor& drawn,
                              const Tensor& replaced, const Tensor& answers) = 0;

  virtual void top1(const Context& context, const Tensor& scores, const Tensor& targets, int64_t classes,
                    const Tensor& right) = 0;

  virtual void normalize_rows(const Context& context, const Tensor& x, const Tensor& out, const Tensor& scales) = 0;
  virtual void normalize_rows_backward(const Context& context, const Tensor& out, const Tensor& scales,
                                       const Tensor& d_out, const Tensor& d_x) = 0;
  virtual void scale_pair(const Context& context, const Tensor& a, const Tensor& b, double first_scale,
                          const Tensor& offset, const Tensor& out) = 0;
  virtual void scale_pair_backward(const Context& context, const Tensor& out, const Tensor& d_out, double first_scale,
                                   const Tensor& offset, const Tensor& d_a, const Tensor& d_b,
                                   const Tensor& d_offset) = 0;
  virtual void moving_average(const Context& context, double momentum, const Tensor& value, const Tensor& average) = 0;

  virtual InfoNceSum info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums,
                              const Tensor& d_queries) = 0;
  virtual void info_nce_key_gradient(const Context& context, const InfoNce& problem, const Tensor& log_sums,
                                     int64_t first_key, const Tensor& d_keys) = 0;
  virtual InfoNceSum triplet(const Context& context, const Triplets& problem, const Tensor& facts,
                             const Tensor& d_queries) = 0;
  virtual void triplet_key_gradient(const Context& context, const Triplets& problem, const Tensor& facts,
                                    int64_t first_key, const Tensor& d_keys) = 0;
  virtual InfoNceSum part_bound(const Context& context, const PartScores& problem, const Tensor& facts,
                                const Tensor& d_wholes) = 0;
  virtual void part_bound_part_gradient(const Context& context, const PartScores& problem, const Tensor& facts,
                                        int64_t first_part, const Tensor& d_parts) = 0;

  /// The two parts of score_bound() (ops/score_bounds/score_bounds_internal.h).
  virtual void score_rows(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& facts) = 0;
  virtual void score_slopes(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& levels,
                            const Tensor& d_scores) = 0;
};

}  // namespace tsugi
