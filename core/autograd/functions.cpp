#include "core/autograd/functions.h"

#include "ops/binary_cross_entropy/binary_cross_entropy.h"
#include "ops/columns/columns.h"
#include "ops/dropout/dropout.h"
#include "ops/embedding/embedding.h"
#include "ops/gather_rows/gather_rows.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

/// x's shape with another last extent.
Shape with_width(const Shape& shape, int64_t width) {
  if (shape.rank() == 3) return {shape[0], shape[1], width};
  return {shape[0], width};
}

}  // namespace

Variable linear(Tape& tape, const Variable& x, const Parameter& weight, const Parameter& bias, Activation activation,
                WeightLayout layout, bool only_for_linear) {
  const Context& context = tape.context();
  const bool out_in = layout == WeightLayout::kOutIn;
  const bool train_bias = bias.defined() && bias.trainable();
  const Shape shape = with_width(x.value.shape(), weight.value().shape()[out_in ? 0 : 1]);
  Variable y =
      tape.variable(context.empty(shape, x.value.dtype()), x.requires_gradient() || weight.trainable() || train_bias);
  const Tensor pre = activation == Activation::kNone ? Tensor() : as_matrix(context.empty(shape, x.value.dtype()));
  MatmulOptions options;
  options.transpose_b = out_in;
  if (bias.defined()) options.bias = bias.value();
  if (activation == Activation::kGelu) options.pre_activation = pre;
  const bool apart = pre.defined() && !options.pre_activation.defined();
  matmul(context, as_matrix(x.value), weight.value(), apart ? pre : as_matrix(y.value), options);
  if (apart) activation_forward(context, activation, pre, y.value);
  if (!y.requires_gradient()) return y;

  if (only_for_linear && activation == Activation::kGelu) y.gradient->gelu_input = pre;
  // A frozen weight does not need x again: its memory may go.
  const Tensor saved = weight.trainable() ? as_matrix(x.value) : Tensor();
  tape.record([context, input = x.gradient, in_shape = x.value.shape(), type = x.value.dtype(), saved, weight, bias,
               train_bias, activation, out_in, output = y.gradient, pre]() {
    Tensor d_y = as_matrix(output->take());
    if (pre.defined() && !output->gelu_input.defined()) {
      const Tensor d_pre = d_y.unique() ? d_y : context.empty(d_y.shape(), d_y.dtype());
      activation_backward(context, activation, pre, d_y, d_pre);
      d_y = d_pre;
    }
    if (saved.defined()) {
      matmul(context, out_in ? d_y : saved, out_in ? saved : d_y, weight.gradient(),
             {.transpose_a = true, .accumulate = true});
    }
    if (train_bias) column_sum(context, d_y, bias.gradient());
    if (input != nullptr) {
      const Tensor d_x = context.empty(in_shape, type);
      MatmulOptions product{.transpose_b = !out_in};
      product.gelu_backward = input->gelu_input;
      matmul(context, d_y, weight.value(), as_matrix(d_x), product);
      input->add(context, d_x);
    }
  });
  return y;
}

Variable add(Tape& tape, const Variable& x, const Variable& y) {
  const Context& context = tape.context();
  add_to_columns(context, as_matrix(x.value), 0, 1.0f, as_matrix(y.value));
  const Variable out = tape.variable(y.value, x.requires_gradient() || y.requires_gradient());
  if (!out.requires_gradient()) return out;
  tape.record([context, to_x = x.gradient, to_y = y.gradient, output = out.gradient]() {
    const Tensor d_out = output->take();
    if (to_x != nullptr) to_x->add(context, d_out);
    if (to_y != nullptr) to_y->add(context, d_out);
  });
  return out;
}

Variable scaled(Tape& tape, const Variable& x, float factor) {
  const Context& context = tape.context();
  Variable out = tape.variable(context.empty(x.value.shape(), x.value.dtype()), x.requires_gradient());
  take_columns(context, as_matrix(x.value), 0, factor, as_matrix(out.value));
  if (!out.requires_gradient()) return out;
  tape.record([context, factor, input = x.gradient, output = out.gradient]() {
    const Tensor d_out = output->take();
    const Tensor d_x = context.empty(d_out.shape(), d_out.dtype());
    take_columns(context, as_matrix(d_out), 0, factor, as_matrix(d_x));
    input->add(context, d_x);
  });
  return out;
}

Variable activate(Tape& tape, const Variable& x, Activation activation) {
  const Context& context = tape.context();
  Variable out = tape.variable(context.empty(x.value.shape(), x.value.dtype()), x.requires_gradient());
  activation_forward(context, activation, x.value, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, x, activation, output = out.gradient]() {
    const Tensor d_x = context.empty(x.value.shape(), x.value.dtype());
    activation_backward(context, activation, x.value, output->take(), d_x);
    x.gradient->add(context, d_x);
  });
  return out;
}

Variable gated_activation(Tape& tape, const Variable& gate_up, Activation activation) {
  const Context& context = tape.context();
  const Shape& shape = gate_up.value.shape();
  Variable out = tape.variable(context.empty(with_width(shape, shape[-1] / 2), gate_up.value.dtype()),
                               gate_up.requires_gradient());
  gated_activation_forward(context, activation, gate_up.value, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, gate_up, activation, output = out.gradient]() {
    const Tensor d_gate_up = context.empty(gate_up.value.shape(), gate_up.value.dtype());
    gated_activation_backward(context, activation, gate_up.value, output->take(), d_gate_up);
    gate_up.gradient->add(context, d_gate_up);
  });
  return out;
}

namespace {

/// LayerNorm with a beta, RMSNorm without.
ResidualNorm residual_norm_of(Tape& tape, const ResidualStream& stream, const Dropout& dropout, const Parameter& gamma,
                              const Parameter& beta, float epsilon) {
  const Context& context = tape.context();
  const Tensor& x = stream.residual.value;
  const bool has_branch = stream.branch.value.defined();
  const bool input_requires = stream.residual.requires_gradient() || stream.branch.requires_gradient();
  const bool layer_norm = beta.defined();
  const bool train_any = gamma.trainable() || (layer_norm && beta.trainable());
  const Dropout active = has_branch && tape.recording() ? dropout : Dropout{};

  // Without a branch the sum is x itself, but it still gets a gradient slot of its own.
  Variable residual = tape.variable(has_branch ? context.empty(x.shape(), x.dtype()) : x, input_requires);
  Variable normed = tape.variable(context.empty(x.shape(), x.dtype()), input_requires || train_any);
  const Tensor mean = layer_norm ? context.empty({x.shape().rows()}, DType::kF32) : Tensor();
  const Tensor rstd = context.empty({x.shape().rows()}, DType::kF32);
  const Tensor sum = has_branch ? residual.value : Tensor();
  if (layer_norm) {
    residual_layer_norm_forward(context, x, stream.branch.value, active, gamma.value(), beta.value(), epsilon, sum,
                                normed.value, mean, rstd);
  } else {
    residual_rms_norm_forward(context, x, stream.branch.value, active, gamma.value(), epsilon, sum, normed.value, rstd);
  }
  if (!normed.requires_gradient()) return {residual, normed};

  tape.record([context, x_gradient = stream.residual.gradient, branch_gradient = stream.branch.gradient, gamma, beta,
               layer_norm, active, value = residual.value, residual_gradient = residual.gradient,
               normed_gradient = normed.gradient, mean, rstd]() {
    const Tensor d_normed = normed_gradient->take();
    Tensor d_residual = residual_gradient != nullptr ? residual_gradient->take() : Tensor();
    const bool has_d_residual = d_residual.defined();
    d_residual = has_d_residual ? make_unique_tensor(context, std::move(d_residual))
                                : context.empty(value.shape(), value.dtype());
    Tensor d_branch = active.active() ? context.empty(value.shape(), value.dtype()) : Tensor();
    // A frozen norm still needs somewhere to put the sums of its vectors.
    const bool trainable = gamma.trainable() && (!layer_norm || beta.trainable());
    const auto sink = [&](const Parameter& parameter) {
      if (trainable) return parameter.gradient();
      const Tensor scratch = context.empty(gamma.value().shape(), DType::kF32);
      fill_zero(context, scratch);
      return scratch;
    };
    const Tensor d_gamma = sink(gamma);
    if (layer_norm) {
      const Tensor d_beta = sink(beta);
      residual_layer_norm_backward(context, value, gamma.value(), mean, rstd, d_normed, active, has_d_residual,
                                   d_residual, d_branch, d_gamma, d_beta);
    } else {
      residual_rms_norm_backward(context, value, gamma.value(), rstd, d_normed, active, has_d_residual, d_residual,
                                 d_branch, d_gamma);
    }
    if (branch_gradient != nullptr) branch_gradient->add(context, active.active() ? d_branch : d_residual);
    if (x_gradient != nullptr) x_gradient->add(context, std::move(d_residual));
  });
  return {residual, normed};
}

}  // namespace

ResidualNorm residual_norm(Tape& tape, const ResidualStream& stream, const Dropout& dropout, const Parameter& gamma,
                           const Parameter& beta, float epsilon) {
  CHECK(beta.defined());
  return residual_norm_of(tape, stream, dropout, gamma, beta, epsilon);
}

ResidualNorm residual_rms_norm(Tape& tape, const ResidualStream& stream, const Dropout& dropout, const Parameter& gamma,
                               float epsilon) {
  return residual_norm_of(tape, stream, dropout, gamma, Parameter(), epsilon);
}

Variable drop(Tape& tape, const Variable& x, const Dropout& dropout) {
  if (!dropout.active() || !tape.recording()) return x;
  const Context& context = tape.context();
  Variable out = tape.variable(context.empty(x.value.shape(), x.value.dtype()), x.requires_gradient());
  apply_dropout(context, dropout, x.value, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, dropout, input = x.gradient, output = out.gradient]() {
    const Tensor d_out = make_unique_tensor(context, output->take());
    apply_dropout(context, dropout, d_out, d_out);
    input->add(context, d_out);
  });
  return out;
}

Variable embed(Tape& tape, const Tensor& tokens, const Parameter& token_table, const Parameter& position_table,
               const Dropout& dropout, int64_t first_position) {
  const Context& context = tape.context();
  const Shape shape{tokens.shape()[0], tokens.shape()[1], token_table.value().shape()[1]};
  const Dropout active = tape.recording() ? dropout : Dropout{};
  const bool has_positions = position_table.defined();
  const bool trainable = token_table.trainable() && (!has_positions || position_table.trainable());
  Variable out = tape.variable(context.empty(shape, token_table.value().dtype()), trainable);
  embedding_forward(context, tokens, token_table.value(), has_positions ? position_table.value() : Tensor(),
                    first_position, active, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, tokens, token_table, position_table, first_position, active, output = out.gradient]() {
    Tensor d_positions;
    if (position_table.defined()) {
      const Tensor whole = position_table.gradient();
      const int64_t width = whole.shape()[1];
      d_positions = whole.slice(first_position * width, {whole.shape()[0] - first_position, width});
    }
    embedding_backward(context, tokens, active, output->take(), token_table.gradient(), d_positions);
  });
  return out;
}

Variable select_rows(Tape& tape, const Variable& x, const Tensor& indices) {
  const Context& context = tape.context();
  const Shape& shape = x.value.shape();
  Variable out = tape.variable(context.empty({indices.elements(), shape[-1]}, x.value.dtype()), x.requires_gradient());
  gather_rows(context, as_matrix(x.value), indices, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, shape, type = x.value.dtype(), input = x.gradient, indices, output = out.gradient]() {
    const Tensor d_out = output->take();
    const Tensor d_x = context.empty(shape, type);
    gather_rows_backward(context, indices, d_out, as_matrix(d_x));
    input->add(context, d_x);
  });
  return out;
}

LossSum cross_entropy_loss(Tape& tape, const Variable& hidden, const Parameter& weight, const Tensor& targets,
                           int64_t vocabulary, const Tensor& row_loss, const CrossEntropyOptions& options,
                           const Parameter& bias) {
  const Context& context = tape.context();
  CrossEntropyOptions terms = options;
  if (bias.defined()) terms.bias = bias.value();
  if (bias.defined() && tape.recording() && bias.trainable()) terms.d_bias = bias.gradient();
  const bool train_weight = tape.recording() && weight.trainable();
  const Tensor d_hidden =
      hidden.requires_gradient() ? context.empty(hidden.value.shape(), hidden.value.dtype()) : Tensor();
  const LossSum loss = linear_cross_entropy(
      context, as_matrix(hidden.value), weight.value(), targets.reshape({targets.elements()}), vocabulary, row_loss,
      d_hidden.defined() ? as_matrix(d_hidden) : Tensor(), train_weight ? weight.gradient() : Tensor(), terms);
  if (hidden.requires_gradient()) {
    tape.record([context, d_hidden, slot = hidden.gradient]() { slot->add(context, d_hidden); });
  }
  return loss;
}

LossSum binary_cross_entropy_loss(Tape& tape, const Variable& x, const Tensor& targets, float weight) {
  const Context& context = tape.context();
  const Tensor d_x = x.requires_gradient() ? context.empty(x.value.shape(), x.value.dtype()) : Tensor();
  const LossSum loss = binary_cross_entropy(context, x.value, targets, weight, d_x);
  if (x.requires_gradient()) tape.record([context, d_x, slot = x.gradient]() { slot->add(context, d_x); });
  return loss;
}

ResidualStream recompute(Tape& tape, const std::shared_ptr<const Rerunnable>& block, const ResidualStream& input) {
  const Context& context = tape.context();
  ResidualStream output;
  {
    // Dropout must act here as it will in the second run, so this tape records too; its closures are dropped at once.
    Tape first_run(context, tape.recording());
    output = block->run(first_run, input);
  }
  output.residual = tape.variable(output.residual.value, output.residual.requires_gradient());
  output.branch = tape.variable(output.branch.value, output.branch.requires_gradient());
  if (!tape.recording()) return output;

  tape.record([context, block, input, residual = output.residual.gradient, branch = output.branch.gradient]() {
    Tape inner(context);
    ResidualStream detached = input;
    if (input.residual.requires_gradient()) detached.residual.gradient = make_recycled<Gradient>();
    if (input.branch.requires_gradient()) detached.branch.gradient = make_recycled<Gradient>();
    {
      ResidualStream again = block->run(inner, detached);
      if (residual != nullptr) {
        if (Tensor d = residual->take(); d.defined()) again.residual.gradient->add(context, std::move(d));
      }
      if (branch != nullptr) {
        if (Tensor d = branch->take(); d.defined()) again.branch.gradient->add(context, std::move(d));
      }
    }
    inner.backward();
    if (input.residual.requires_gradient()) input.residual.gradient->add(context, detached.residual.gradient->take());
    if (input.branch.requires_gradient()) input.branch.gradient->add(context, detached.branch.gradient->take());
  });
  return output;
}

}  // namespace tsugi
