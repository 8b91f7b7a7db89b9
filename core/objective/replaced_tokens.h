// A generator and what it is for: ELECTRA (Clark et al., "ELECTRA: pre-training text encoders as discriminators rather
// than generators", 2020, section 2), as far as it does not depend on data.
//
// The generator reads the model's own embeddings (section 3.2), through a projection where it is narrower, and restores
// the hidden tokens; its projection to the vocabulary is the model's token table. A token drawn from what it says takes
// the place of each hidden one, and the model's discriminator tells for every token of the text whether it is another
// than it was. No gradient goes through the drawing.
//
//   loss = mean over hidden tokens of -log p(token) + weight · mean over all tokens of the binary cross-entropy
//
// The second mean takes a row to have `sequence` tokens: where padding follows, its tokens count as those of full rows
// do.
#pragma once

#include "core/objective/masking.h"
#include "core/objective/objective.h"

namespace tsugi {

class ReplacedTokens {
 public:
  /// `model` is resolved, of family ELECTRA with a discriminator; its vocabulary is not looked at. `hidden_share`: of a
  /// row's tokens that are hidden.
  ReplacedTokens(const ReplacedTokenDetection& config, const ModelConfig& model, double hidden_share);

  /// Of the generator; its fields of size and heads are resolved.
  const ModelConfig& generator() const { return generator_; }

  void declare(ParameterStore& store);

  /// `batch` as masked_lm makes it. Drawn is by {seed, batch.first_sample + row}.
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options,
               uint64_t seed) const;
  /// The same, and `scores` in the order of names().
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch, uint64_t seed) const;
  static std::vector<std::string> names();

 private:
  struct Passes;
  Passes run(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options,
             uint64_t seed) const;
  /// The generator's outputs at the positions, ready for the projection to the vocabulary.
  Variable restored(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const;

  ReplacedTokenDetection config_;
  double hidden_share_;
  ModelConfig model_;
  ModelConfig generator_;
  Linear entrance_;  ///< undefined weight: as wide as the model
  std::vector<Block> blocks_;
  Linear transform_;
  Norm transform_norm_;
  Parameter bias_;
};

/// Draws a token for each row of `rows` [R, width] from softmax(rows·tableᵀ + bias), by the largest of its logarithm
/// and Gumbel noise: i32 [R]. Row r belongs to sample first_sample + r / rows_per_sample; which random words it takes
/// depends on its place there alone. Scores of some rows at a time.
Tensor draw_tokens(const Context& context, const Tensor& rows, const Parameter& table, const Parameter& bias,
                   int64_t vocabulary, uint64_t seed, uint64_t first_sample, int64_t rows_per_sample);

/// Of `scores` those of yes above those of no: how often, among all pairs of them (the area under the curve of hits and
/// false alarms); pairs of equal scores count half. `answers`: 1, 0, or kIgnoreIndex. The sum over pairs, and how many
/// they are.
Average pairs_in_order(std::span<const float> scores, std::span<const int32_t> answers);

}  // namespace tsugi
