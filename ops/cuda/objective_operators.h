// What objectives need on a CUDA device: the part of Operators (operators.h) that stands behind DeviceObjectives.
#pragma once

#include "ops/tensor/device_objectives.h"

namespace tsugi::cuda {

class Operators;

class ObjectiveOperators final : public DeviceObjectives {
 public:
  explicit ObjectiveOperators(Operators& operators) : operators_(&operators) {}

  LossSum squared_error(const Context& context, const Tensor& x, const Tensor& targets, const Tensor& indices,
                        bool normalize, const Tensor& d_x) override;
  LossSum binary_cross_entropy(const Context& context, const Tensor& x, const Tensor& targets, float weight,
                               const Tensor& d_x) override;
  void draw_rows(const Context& context, const Tensor& scores, int64_t vocabulary, const TokenDraw& draw,
                 int64_t first_row, const Tensor& drawn) override;
  void replace_tokens(const Context& context, const HiddenTokens& hidden, const Tensor& drawn, const Tensor& replaced,
                      const Tensor& answers) override;
  void top1(const Context& context, const Tensor& scores, const Tensor& targets, int64_t classes,
            const Tensor& right) override;
  void normalize_rows(const Context& context, const Tensor& x, const Tensor& out, const Tensor& scales) override;
  void normalize_rows_backward(const Context& context, const Tensor& out, const Tensor& scales, const Tensor& d_out,
                               const Tensor& d_x) override;
  void scale_pair(const Context& context, const Tensor& a, const Tensor& b, double first_scale, const Tensor& offset,
                  const Tensor& out) override;
  void scale_pair_backward(const Context& context, const Tensor& out, const Tensor& d_out, double first_scale,
                           const Tensor& offset, const Tensor& d_a, const Tensor& d_b, const Tensor& d_offset) override;
  void moving_average(const Context& context, double momentum, const Tensor& value, const Tensor& average) override;
  InfoNceSum info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums,
                      const Tensor& d_queries) override;
  void info_nce_key_gradient(const Context& context, const InfoNce& problem, const Tensor& log_sums, int64_t first_key,
                             const Tensor& d_keys) override;
  InfoNceSum triplet(const Context& context, const Triplets& problem, const Tensor& facts,
                     const Tensor& d_queries) override;
  void triplet_key_gradient(const Context& context, const Triplets& problem, const Tensor& facts, int64_t first_key,
                            const Tensor& d_keys) override;
  InfoNceSum part_bound(const Context& context, const PartScores& problem, const Tensor& facts,
                        const Tensor& d_wholes) override;
  void part_bound_part_gradient(const Context& context, const PartScores& problem, const Tensor& facts,
                                int64_t first_part, const Tensor& d_parts) override;
  void score_rows(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& facts) override;
  void score_slopes(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& levels,
                    const Tensor& d_scores) override;

 private:
  /// Zeroed room for a DeviceRowSums (ops/cross_entropy/row_losses_cuda.h), and what it holds.
  Tensor row_sums(const Context& context) const;
  InfoNceSum read_row_sums(const Tensor& sums) const;

  Operators* operators_;
};

}  // namespace tsugi::cuda
