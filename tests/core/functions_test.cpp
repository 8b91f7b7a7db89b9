// The differentiable functions of modern families: gradients through the tape against central differences of the loss.
#include "core/autograd/functions.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/reduce/reduce.h"
#include "ops/rotary/rotary.h"

namespace tsugi {
namespace {

/// A little store of parameters with values and gradients, and a loss Σ weights·output of some function of x.
class FunctionsTest : public ::testing::Test {
 protected:
  using Function = std::function<Variable(Tape&, const Variable& x)>;

  static void fill(const Tensor& tensor, uint64_t seed, float scale) {
    const RandomStream stream{seed, 0, 0};
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      tensor.data<float>()[i] = scale * (2.0f * uniform_open(stream.word(static_cast<uint64_t>(i))) - 1.0f);
    }
  }

  Parameter declare(const std::string& name, Shape shape) {
    return store_.add(name, shape, {Initialization::Kind::kZeros}, false);
  }

  void allocate() {
    store_.end_unit();
    store_.allocate(context_, DType::kF32);
    fill(store_.working(), 1, 1.0f);
    gradients_ = context_.empty(store_.working().shape(), DType::kF32);
    fill_zero(context_, gradients_);
    store_.bind_gradients(gradients_);
  }

  double loss(const Function& function, const Tensor& x, const Tensor& weights) {
    Tape tape(context_, drops_);  // who records nothing drops nothing
    return weigh(function(tape, tape.variable(x, false)).value, weights);
  }
  static double weigh(const Tensor& out, const Tensor& weights) {
    CHECK_EQ(out.elements(), weights.elements());
    double sum = 0.0;
    for (int64_t i = 0; i < out.elements(); ++i) {
      sum += static_cast<double>(out.data<float>()[i]) * static_cast<double>(weights.data<float>()[i]);
    }
    return sum;
  }

  /// Checks the gradients of x and of every parameter.
  void check(const Function& function, Shape x_shape, Shape out_shape) {
    const Tensor x = context_.empty(x_shape, DType::kF32);
    const Tensor weights = context_.empty(out_shape, DType::kF32);
    fill(x, 2, 1.0f);
    fill(weights, 3, 1.0f);
    Tensor d_x;
    {
      Tape tape(context_);
      const Variable input = tape.variable(x, true);
      {
        const Variable out = function(tape, input);
        ASSERT_EQ(out.value.shape(), out_shape) << out.value.shape().to_string();
        const Tensor d_out = context_.empty(out_shape, DType::kF32);
        convert(context_, weights, d_out);
        out.gradient->add(context_, d_out);
      }
      tape.backward();
      d_x = input.gradient->take();
    }
    const auto compare = [&](float* value, float gradient, const std::string& what) {
      constexpr float kStep = 1.0f / 256.0f;
      const float saved = *value;
      *value = saved + kStep;
      const double above = loss(function, x, weights);
      *value = saved - kStep;
      const double below = loss(function, x, weights);
      *value = saved;
      const double slope = (above - below) * 128.0;
      EXPECT_NEAR(static_cast<double>(gradient), slope, 2e-3 * std::max(1.0, std::fabs(slope))) << what;
    };
    for (int64_t i = 0; i < x.elements(); ++i) {
      compare(x.data<float>() + i, d_x.data<float>()[i], "x " + std::to_string(i));
    }
    for (size_t p = 0; p < store_.tensors().size(); ++p) {
      const Tensor value = store_.value(static_cast<int>(p));
      const Tensor gradient = store_.gradient(static_cast<int>(p));
      for (int64_t i = 0; i < value.elements(); ++i) {
        compare(value.data<float>() + i, gradient.data<float>()[i], store_.tensors()[p].name + std::to_string(i));
      }
    }
  }

  ThreadPool pool_{2};
  HeapMemory memory_;
  Context context_{Device{}, pool_, memory_};
  ParameterStore store_;
  Tensor gradients_;
  bool drops_ = false;
};

TEST_F(FunctionsTest, LinearInBothLayoutsWithAndWithoutBias) {
  const Parameter in_out = declare("in_out", {5, 6});
  const Parameter out_in = declare("out_in", {4, 6});
  const Parameter bias = declare("bias", {4});
  allocate();
  check(
      [&](Tape& tape, const Variable& x) {
        const Variable hidden = linear(tape, x, in_out, Parameter(), Activation::kSilu);
        return linear(tape, hidden, out_in, bias, Activation::kGeluErf, WeightLayout::kOutIn);
      },
      {2, 3, 5}, {2, 3, 4});
}

TEST_F(FunctionsTest, LayoutsGiveTheSameNumbers) {
  const Parameter in_out = declare("in_out", {33, 70});
  const Parameter out_in = declare("out_in", {70, 33});
  allocate();
  for (int64_t i = 0; i < 33; ++i) {
    for (int64_t j = 0; j < 70; ++j) {
      out_in.value().data<float>()[j * 33 + i] = in_out.value().data<float>()[i * 70 + j];
    }
  }
  const Tensor x = context_.empty({1, 9, 33}, DType::kF32);
  fill(x, 4, 1.0f);
  Tape tape(context_, false);
  const Tensor a = linear(tape, {x, nullptr}, in_out, Parameter()).value;
  const Tensor b = linear(tape, {x, nullptr}, out_in, Parameter(), Activation::kNone, WeightLayout::kOutIn).value;
  for (int64_t i = 0; i < a.elements(); ++i) ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-5f);
}

constexpr Dropout kFunctionDropout{.p = 0.4f, .seed = 3, .first_sample = 7, .site = 2};

TEST_F(FunctionsTest, Dropout) {
  allocate();
  drops_ = true;
  check([&](Tape& tape, const Variable& x) { return drop(tape, x, kFunctionDropout); }, {2, 3, 5}, {2, 3, 5});
}

TEST_F(FunctionsTest, EmbeddingOfTokensThatRepeat) {
  const Parameter table = declare("table", {5, 6});
  const Parameter positions = declare("positions", {4, 6});
  allocate();
  const Tensor tokens = context_.empty({2, 3}, DType::kI32);
  const int32_t values[] = {4, 0, 4, 4, 2, 0};
  std::copy_n(values, 6, tokens.data<int32_t>());
  for (const bool drops : {false, true}) {
    drops_ = drops;
    fill_zero(context_, gradients_);
    check(
        [&](Tape& tape, const Variable& x) {
          return add(tape, x, embed(tape, tokens, table, positions, drops ? kFunctionDropout : Dropout{}, 1));
        },
        {2, 3, 6}, {2, 3, 6});
  }
}

TEST_F(FunctionsTest, GatedActivation) {
  allocate();
  check([&](Tape& tape, const Variable& x) { return gated_activation(tape, x, Activation::kSilu); }, {2, 3, 10},
        {2, 3, 5});
}

TEST_F(FunctionsTest, ResidualRmsNormWithItsTwoOutputs) {
  const Parameter first = declare("first", {6});
  const Parameter second = declare("second", {6});
  allocate();
  check(
      [&](Tape& tape, const Variable& x) {
        const ResidualNorm before = residual_rms_norm(tape, {x, {}}, {}, first, 1e-3f);
        return residual_rms_norm(tape, {before.residual, before.normed}, {}, second, 1e-3f).normed;
      },
      {2, 2, 6}, {2, 2, 6});
}

/// heads 4, key heads 2, head_dim 4: rows of 32.
AttentionOptions grouped() {
  AttentionOptions options;
  options.heads = 4;
  options.key_heads = 2;
  return options;
}

TEST_F(FunctionsTest, SelfAttentionTurnedInPlace) {
  const Parameter weight = declare("weight", {6, 32});
  allocate();
  AttentionOptions options = grouped();
  options.window = 3;
  options.rotary.table = rotary_table(context_, 8, 4, 10.0, {});
  check([&](Tape& tape,
            const Variable& x) { return self_attention(tape, linear(tape, x, weight, Parameter()), options); },
        {2, 5, 6}, {2, 5, 16});

  // Only a moved variable may be turned in place.
  const Tensor x = context_.empty({1, 5, 32}, DType::kF32);
  fill(x, 5, 1.0f);
  const Tensor copy = context_.empty({1, 5, 32}, DType::kF32);
  convert(context_, x, copy);
  Tape tape(context_, false);
  self_attention(tape, tape.variable(x, false), options);
  for (int64_t i = 0; i < x.elements(); ++i) ASSERT_EQ(x.data<float>()[i], copy.data<float>()[i]);
}

TEST_F(FunctionsTest, SelfAttentionWithNormsPerHeadAndPackedDocuments) {
  AttentionOptions options = grouped();
  options.rotary.query_gamma = declare("query_gamma", {4});
  options.rotary.key_gamma = declare("key_gamma", {4});
  options.rotary.epsilon = 1e-3f;
  allocate();
  options.rotary.table = rotary_table(context_, 8, 4, 10.0, {});
  options.rotary.positions = context_.empty({1, 5}, DType::kI32);
  options.first_key = context_.empty({1, 5}, DType::kI32);
  const int32_t positions[] = {0, 1, 0, 1, 2}, first[] = {0, 0, 2, 2, 2};
  std::copy_n(positions, 5, options.rotary.positions.data<int32_t>());
  std::copy_n(first, 5, options.first_key.data<int32_t>());
  check([&](Tape& tape, const Variable& x) { return self_attention(tape, x, options); }, {1, 5, 32}, {1, 5, 16});
}

TEST_F(FunctionsTest, CrossAttention) {
  const Parameter keys = declare("keys", {4, 16});
  allocate();
  AttentionOptions options = grouped();
  options.causal = false;
  check(
      [&](Tape& tape, const Variable& x) {
        const Variable kv = linear(tape, x, keys, Parameter());
        return cross_attention(tape, linear(tape, x, keys, Parameter(), Activation::kSilu), kv, options);
      },
      {2, 3, 4}, {2, 3, 16});
}

TEST_F(FunctionsTest, DecodingWithACacheEqualsTheWhole) {
  AttentionOptions options = grouped();
  options.rotary.query_gamma = declare("query_gamma", {4});
  options.rotary.key_gamma = declare("key_gamma", {4});
  options.window = 4;
  allocate();
  options.rotary.table = rotary_table(context_, 16, 4, 10.0, {});
  const Tensor x = context_.empty({1, 9, 32}, DType::kF32);
  fill(x, 6, 1.0f);
  Tape tape(context_, false);
  const Tensor whole = self_attention(tape, {x, nullptr}, options).value;
  KeyValueCache cache{context_.empty({1, 12, 8}, DType::kF32), context_.empty({1, 12, 8}, DType::kF32), 0};
  for (int64_t begin = 0; begin < 9;) {
    const int64_t count = begin == 0 ? 4 : 1;
    const Tensor part = self_attention(tape, {x.slice(begin * 32, {1, count, 32}), nullptr}, options, &cache).value;
    for (int64_t i = 0; i < part.elements(); ++i) {
      ASSERT_NEAR(part.data<float>()[i], whole.data<float>()[begin * 16 + i], 1e-5f) << begin;
    }
    begin += count;
  }
  EXPECT_EQ(cache.length, 9);
}

TEST_F(FunctionsTest, EmbeddingWithoutPositions) {
  const Parameter table = declare("table", {7, 3});
  const Parameter gamma = declare("gamma", {3});
  allocate();
  const Tensor tokens = context_.empty({1, 4}, DType::kI32);
  const int32_t ids[] = {6, 2, 6, 0};
  std::copy_n(ids, 4, tokens.data<int32_t>());
  check(
      [&](Tape& tape, const Variable& x) {
        const Variable embedded = embed(tape, tokens, table, Parameter(), {});
        return residual_rms_norm(tape, {x, embedded}, {}, gamma, 1e-3f).normed;
      },
      {1, 4, 3}, {1, 4, 3});
}

}  // namespace
}  // namespace tsugi
