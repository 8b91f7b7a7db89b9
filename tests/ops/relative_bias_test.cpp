// Positions by distance: buckets, the table of biases, attention with them and its gradient.
#include "ops/relative_bias/relative_bias.h"

#include <cmath>
#include <sstream>

#include "ops/base/error.h"
#include "tests/ops/attention_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::Inputs;

// Values of transformers' T5Attention._relative_position_bucket for distances -300 … 300: tests/golden/make_t5.py.
TEST(RelativeBuckets, AreThoseOfTransformers) {
  const testing::Golden golden = testing::read_golden("relative_buckets.txt");
  int compared = 0;
  for (const auto& [name, values] : golden) {
    std::istringstream parts(name);  // direction-buckets-distance
    std::string direction;
    std::string buckets;
    std::string distance;
    std::getline(parts, direction, '-');
    std::getline(parts, buckets, '-');
    std::getline(parts, distance);
    const RelativeBuckets ours{std::stoi(buckets), std::stoi(distance), direction == "both"};
    ASSERT_EQ(values.size(), 601u);
    for (int64_t d = -300; d <= 300; ++d) {
      EXPECT_EQ(static_cast<double>(ours.bucket_of(d)), values[static_cast<size_t>(d + 300)]) << name << " at " << d;
      EXPECT_LE(std::abs(reference::relative_bucket(ours, d) - ours.bucket_of(d)), 1) << name << " at " << d;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 6 * 601);
}

TEST(RelativeBias, IsTheTableByDistanceAndBack) {
  CpuContext cpu;
  const RelativeBuckets buckets{8, 20, true};
  constexpr int64_t kHeads = 3, kQueries = 7, kKeys = 40;
  const Tensor table = cpu.context.empty({8, kHeads}, DType::kF32);
  for (int64_t i = 0; i < table.elements(); ++i) table.data<float>()[i] = static_cast<float>(i * i % 31);
  const Tensor bias = cpu.context.empty({kHeads, kKeys + kQueries - 1}, DType::kF32);
  relative_bias_forward(cpu, buckets, table, kKeys, bias);
  std::vector<double> sums(8 * kHeads, 1.0);
  for (int64_t i = 0; i < kQueries; ++i) {
    for (int64_t j = 0; j < kKeys; ++j) {
      const int64_t place = i + kKeys - kQueries;  // the queries are the last of the keys
      for (int64_t h = 0; h < kHeads; ++h) {
        EXPECT_EQ(bias.data<float>()[h * (kKeys + kQueries - 1) + j - i + kQueries - 1],
                  table.data<float>()[buckets.bucket_of(j - place) * kHeads + h]);
      }
    }
  }
  for (int64_t c = 0; c < bias.shape()[1]; ++c) {
    for (int64_t h = 0; h < kHeads; ++h) {
      sums[static_cast<size_t>(buckets.bucket_of(c - (kKeys - 1)) * kHeads + h)] += static_cast<double>(c + h);
      bias.data<float>()[h * bias.shape()[1] + c] = static_cast<float>(c + h);
    }
  }
  const Tensor d_table = cpu.context.empty({8, kHeads}, DType::kF32);
  std::fill_n(d_table.data<float>(), d_table.elements(), 1.0f);
  relative_bias_backward(cpu, buckets, bias, kKeys, d_table);
  EXPECT_EQ(testing::to_doubles(d_table), sums) << "added to what was there";
}

struct BiasSizes {
  int64_t batch, query_tokens, key_tokens, heads, head_dim;
  bool causal;
};
constexpr BiasSizes kBiasSizes[] = {
    {2, 3, 3, 2, 8, true},      {1, 65, 65, 2, 16, false},  {2, 130, 130, 2, 64, true}, {1, 200, 77, 3, 24, false},
    {1, 70, 300, 2, 32, false}, {2, 129, 129, 4, 8, false}, {1, 1, 90, 2, 20, true},    {1, 1, 2100, 2, 8, false},
};

/// A shape with random biases; `padded`: with a bound on the keys, different in each sample.
AttentionShape biased(const Context& context, const BiasSizes& s, DType dtype, bool padded) {
  AttentionShape shape = testing::make_shape(s.batch, s.query_tokens, s.key_tokens, s.heads, s.head_dim, dtype);
  shape.causal = s.causal;
  shape.relative_bias = context.empty({s.heads, s.key_tokens + s.query_tokens - 1}, DType::kF32);
  std::vector<double> values = testing::random_values(shape.relative_bias.elements(), 91, 1.5);
  for (size_t i = 0; i < values.size(); ++i) shape.relative_bias.data<float>()[i] = static_cast<float>(values[i]);
  if (!padded) return shape;
  shape.end_key = context.empty({s.batch, s.query_tokens}, DType::kI32);
  for (int64_t i = 0; i < shape.end_key.elements(); ++i) {
    shape.end_key.data<int32_t>()[i] = static_cast<int32_t>(s.key_tokens / 2 + 1 + i / s.query_tokens);
  }
  return shape;
}

struct BiasedResults {
  testing::Results arrays;
  std::vector<double> d_bias;
};

BiasedResults run_biased(const Context& context, const AttentionShape& shape, const Inputs& inputs,
                         const Dropout& dropout) {
  testing::Arrays arrays(context, shape, testing::Layout::kCache);
  arrays.write(0, inputs.q);
  arrays.write(1, inputs.k);
  arrays.write(2, inputs.v);
  testing::Arrays gradients(context, shape, testing::Layout::kCache);
  std::vector<double> d_out_values = inputs.d_out;
  const Shape out_shape{shape.batch, shape.query_tokens, shape.heads * shape.head_dim};
  const Tensor d_out = testing::to_tensor(context, d_out_values, out_shape, shape.dtype);
  const Tensor out = context.empty(out_shape, shape.dtype);
  const Tensor log_sum_exp = context.empty({shape.batch, shape.heads, shape.query_tokens}, DType::kF32);
  const Tensor d_bias = context.empty(shape.relative_bias.shape(), DType::kF32);
  attention_forward(context, shape, arrays[0], arrays[1], arrays[2], dropout, out, log_sum_exp);
  attention_backward(context, shape, arrays[0], arrays[1], arrays[2], dropout, out, log_sum_exp, d_out, gradients[0],
                     gradients[1], gradients[2], d_bias);
  return {{testing::to_doubles(out), testing::to_doubles(log_sum_exp), gradients.read(0), gradients.read(1),
           gradients.read(2)},
          testing::to_doubles(d_bias)};
}

BiasedResults run_biased_reference(const AttentionShape& shape, const Inputs& inputs, const Dropout& dropout) {
  BiasedResults r;
  r.arrays = {std::vector<double>(inputs.q.size()),
              {},
              std::vector<double>(inputs.q.size()),
              std::vector<double>(inputs.k.size()),
              std::vector<double>(inputs.v.size())};
  r.d_bias.resize(static_cast<size_t>(shape.relative_bias.elements()));
  reference::attention_forward(shape, inputs.q, inputs.k, inputs.v, dropout, r.arrays.out);
  reference::attention_backward(shape, inputs.q, inputs.k, inputs.v, dropout, inputs.d_out, r.arrays.dq, r.arrays.dk,
                                r.arrays.dv, r.d_bias);
  return r;
}

const Dropout kBiasDropout{.p = 0.2f, .seed = 5, .first_sample = 2, .site = 9};

TEST(BiasedAttention, EqualsTheReference) {
  CpuContext cpu(2);
  for (const BiasSizes& s : kBiasSizes) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const bool padded : {false, true}) {
        for (const Dropout& dropout : {Dropout{}, kBiasDropout}) {
          const AttentionShape shape = biased(cpu, s, dtype, padded);
          const Inputs inputs = testing::make_inputs(shape, 17);
          const BiasedResults expected = run_biased_reference(shape, inputs, dropout);
          const BiasedResults actual = run_biased(cpu, shape, inputs, dropout);
          const double unit = dtype == DType::kF32 ? 4e-6 : 2e-2;
          const auto near = [&](const std::vector<double>& ours, const std::vector<double>& theirs, const char* what) {
            EXPECT_LE(testing::max_difference(ours, theirs), unit * (testing::max_abs(theirs) + 0.1))
                << what << " of " << s.query_tokens << " × " << s.key_tokens << " " << name_of(dtype);
          };
          near(actual.arrays.out, expected.arrays.out, "out");
          near(actual.arrays.dq, expected.arrays.dq, "dq");
          near(actual.arrays.dk, expected.arrays.dk, "dk");
          near(actual.arrays.dv, expected.arrays.dv, "dv");
          near(actual.d_bias, expected.d_bias, "d_bias");
        }
      }
    }
  }
}

TEST(BiasedAttention, ThreadsDoNotChangeBits) {
  CpuContext one(1);
  for (const BiasSizes& s : kBiasSizes) {
    const AttentionShape shape = biased(one, s, DType::kF32, true);
    const Inputs inputs = testing::make_inputs(shape, 3);
    const BiasedResults expected = run_biased(one, shape, inputs, kBiasDropout);
    for (const int threads : {2, 3, 8}) {
      CpuContext cpu(threads);
      const BiasedResults actual = run_biased(cpu, shape, inputs, kBiasDropout);
      EXPECT_EQ(actual.d_bias, expected.d_bias) << threads;
      EXPECT_EQ(actual.arrays.dq, expected.arrays.dq) << threads;
      EXPECT_EQ(actual.arrays.dk, expected.arrays.dk) << threads;
      EXPECT_EQ(actual.arrays.out, expected.arrays.out) << threads;
    }
  }
}

TEST(BiasedAttention, GradientOfTheReferenceIsASlope) {
  CpuContext cpu;
  const AttentionShape shape = biased(cpu, {2, 4, 6, 2, 4, false}, DType::kF32, true);
  const Inputs inputs = testing::make_inputs(shape, 4);
  const BiasedResults analytic = run_biased_reference(shape, inputs, kBiasDropout);
  const auto loss = [&] {
    const std::vector<double> out = run_biased_reference(shape, inputs, kBiasDropout).arrays.out;
    double sum = 0.0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * inputs.d_out[i];
    return sum;
  };
  for (int64_t i = 0; i < shape.relative_bias.elements(); ++i) {
    float& value = shape.relative_bias.data<float>()[i];
    const float at = value;
    value = at + 1.0f / 128.0f;
    const double above_at = static_cast<double>(value);
    const double above = loss();
    value = at - 1.0f / 128.0f;
    const double slope = (above - loss()) / (above_at - static_cast<double>(value));
    value = at;
    EXPECT_NEAR(analytic.d_bias[static_cast<size_t>(i)], slope, 2e-4) << i;
  }
}

TEST(BiasedAttention, EqualBiasesChangeNothingAndOthersDo) {
  CpuContext cpu;
  AttentionShape shape = biased(cpu, {1, 33, 33, 2, 16, true}, DType::kF32, false);
  const Inputs inputs = testing::make_inputs(shape, 6);
  const BiasedResults random = run_biased(cpu, shape, inputs, {});
  std::fill_n(shape.relative_bias.data<float>(), shape.relative_bias.elements(), 2.0f);
  const BiasedResults equal = run_biased(cpu, shape, inputs, {});
  shape.relative_bias = {};
  const testing::Results plain = testing::run(cpu, shape, inputs);
  EXPECT_LT(testing::max_difference(equal.arrays.out, plain.out), 1e-6);
  EXPECT_GT(testing::max_difference(random.arrays.out, plain.out), 1e-2);
}

TEST(BiasedAttentionDeathTest, ShapesAreChecked) {
  CpuContext cpu;
  AttentionShape shape = biased(cpu, {1, 4, 4, 2, 8, true}, DType::kF32, false);
  const Inputs inputs = testing::make_inputs(shape, 1);
  shape.relative_bias = cpu.context.empty({2, 4}, DType::kF32);
  EXPECT_DEATH(testing::run(cpu, shape, inputs), "relative_bias");
}

}  // namespace
}  // namespace tsugi
