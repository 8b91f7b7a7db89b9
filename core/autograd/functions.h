// The differentiable functions: each is one operator with its backward closure.
#pragma once

#include "core/autograd/attention.h"
#include "core/autograd/parameter_store.h"
#include "core/autograd/tape.h"
#include "ops/activation/activation.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {

/// [..., C] as [rows, C], the same elements.
inline Tensor as_matrix(const Tensor& x) { return x.reshape({x.shape().rows(), x.shape()[-1]}); }

/// How a weight is stored, its gradient too: [in, out] as GPT-2's Conv1D, or [out, in] as Hugging Face's Linear.
enum class WeightLayout { kInOut, kOutIn };

/// x [B, T, in] · weight + bias [out], then the activation. `bias` may be undefined. `only_for_linear`: the one use of
/// the result is as the x of a linear(), whose product then also does the backward pass of a GELU.
Variable linear(Tape& tape, const Variable& x, const Parameter& weight, const Parameter& bias,
                Activation activation = Activation::kNone, WeightLayout layout = WeightLayout::kInOut,
                bool only_for_linear = false);

/// x + y, two values of one shape. Changes y's value in place: y must come fresh from a product, which does not need it
/// again.
Variable add(Tape& tape, const Variable& x, const Variable& y);

/// factor·x
Variable scaled(Tape& tape, const Variable& x, float factor);

/// f(x), element by element, where it is not the end of linear().
Variable activate(Tape& tape, const Variable& x, Activation activation);

/// activation(gate)·up, [B, T, F] from packed gate_up [B, T, 2·F], gates first: SwiGLU with kSilu, GeGLU with kGelu.
Variable gated_activation(Tape& tape, const Variable& gate_up, Activation activation);

/// The residual stream between blocks: what has been added up so far, and the branch that is still to be added.
struct ResidualStream {
  Variable residual;
  Variable branch;  ///< undefined value: none
};

/// residual = stream.residual + dropout(stream.branch); normed = LayerNorm(residual).
struct ResidualNorm {
  Variable residual;
  Variable normed;
};
ResidualNorm residual_norm(Tape& tape, const ResidualStream& stream, const Dropout& dropout, const Parameter& gamma,
                           const Parameter& beta, float epsilon);
/// The same with RMSNorm.
ResidualNorm residual_rms_norm(Tape& tape, const ResidualStream& stream, const Dropout& dropout, const Parameter& gamma,
                               float epsilon);

/// dropout(x), x [B, ...]; x itself where it is not active or nothing is recorded.
Variable drop(Tape& tape, const Variable& x, const Dropout& dropout);

/// Token plus position embedding: tokens i32 [B, T] → [B, T, C]; token t takes row first_position + t of
/// `position_table`, which may be undefined (models with rotary positions).
Variable embed(Tape& tape, const Tensor& tokens, const Parameter& token_table, const Parameter& position_table,
               const Dropout& dropout, int64_t first_position = 0);

/// Rows of x [R, C] (leading axes flattened) by index.
Variable select_rows(Tape& tape, const Variable& x, const Tensor& indices);

/// Σ of the cross-entropies of hidden·weightᵀ against targets: the end of the tape. Gradients are those of the *sum*,
/// of all the terms that the options add. weight [padded vocabulary, C]. `row_loss` f32 [elements of targets], if
/// defined, receives each row's. `bias` [padded vocabulary], if defined, is added to the logits; it stands for that of
/// the options.
LossSum cross_entropy_loss(Tape& tape, const Variable& hidden, const Parameter& weight, const Tensor& targets,
                           int64_t vocabulary, const Tensor& row_loss = {}, const CrossEntropyOptions& options = {},
                           const Parameter& bias = {});

/// Σ of the binary cross-entropies of ops/binary_cross_entropy, the end of the tape: x [R, 1]; gradients are `weight`
/// times those of the sum.
LossSum binary_cross_entropy_loss(Tape& tape, const Variable& x, const Tensor& targets, float weight);

/// A part of a model that can be run more than once.
class Rerunnable {
 public:
  virtual ~Rerunnable() = default;
  virtual ResidualStream run(Tape& tape, const ResidualStream& input) const = 0;
};

/// Runs `block` without keeping its activations; the backward pass runs it again (Chen et al. 2016).
ResidualStream recompute(Tape& tape, const std::shared_ptr<const Rerunnable>& block, const ResidualStream& input);

/// The same for a function (Tape&, const ResidualStream&) -> ResidualStream.
template <class F>
ResidualStream recompute(Tape& tape, const F& function, const ResidualStream& input) {
  struct Block : Rerunnable {
    explicit Block(const F& body) : function(body) {}
    ResidualStream run(Tape& tape, const ResidualStream& input) const override { return function(tape, input); }
    F function;
  };
  return recompute(tape, std::shared_ptr<const Rerunnable>(make_recycled<Block>(function)), input);
}

}  // namespace tsugi
