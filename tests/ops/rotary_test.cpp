#include "ops/rotary/rotary.h"

#include "ops/reduce/reduce.h"
#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::expect_close;
using testing::random_values;
using testing::same_bits;
using testing::to_doubles;
using testing::to_tensor;

struct RotarySizes {
  int64_t batch, tokens, query_heads, key_heads, head_dim, dim;
};
constexpr RotarySizes kRotarySizes[] = {{1, 1, 1, 1, 2, 2},   {2, 3, 2, 1, 8, 8},     {1, 70, 3, 3, 24, 24},
                                        {2, 33, 4, 2, 18, 6}, {1, 130, 2, 1, 64, 64}, {1, 37, 5, 1, 7, 0}};
constexpr double kTheta = 500.0;
constexpr int64_t kPositions = 700;

/// A packed buffer with values behind the queries and keys, and all that the two passes need.
struct RotaryExample {
  RotaryExample(const Context& context, const RotarySizes& sizes, DType type, bool norm, bool explicit_positions)
      : s(sizes) {
    const int64_t row = (s.query_heads + 2 * s.key_heads) * s.head_dim;
    x_values = random_values(s.batch * s.tokens * row, 1, 2.0);
    d_values = random_values(s.batch * s.tokens * row, 2);
    x = to_tensor(context, x_values, {s.batch, s.tokens, row}, type);
    gradient = to_tensor(context, d_values, {s.batch, s.tokens, row}, type);
    gamma_values[0] = random_values(s.head_dim, 3);
    gamma_values[1] = random_values(s.head_dim, 4);
    rotary.query_heads = s.query_heads;
    rotary.key_heads = s.key_heads;
    rotary.head_dim = s.head_dim;
    rotary.first_position = 5;
    if (s.dim > 0) rotary.table = rotary_table(context, kPositions, s.dim, kTheta, {});
    if (norm) {
      rotary.query_gamma = to_tensor(context, gamma_values[0], {s.head_dim}, type);
      rotary.key_gamma = to_tensor(context, gamma_values[1], {s.head_dim}, type);
      rstd = context.empty({s.batch, s.tokens, rotary.heads()}, DType::kF32);
      for (Tensor& d : d_gamma) {
        d = context.empty({s.head_dim}, DType::kF32);
        fill_zero(context, d);
      }
    }
    if (explicit_positions) {
      rotary.positions = context.empty({s.batch, s.tokens}, DType::kI32);
      for (int64_t i = 0; i < s.batch * s.tokens; ++i) {
        rotary.positions.data<int32_t>()[i] = static_cast<int32_t>(i * 37 % kPositions);
      }
    }
    out = norm ? context.empty({s.batch, s.tokens, rotary.heads() * s.head_dim}, type) : x;
  }

  void run(const Context& context) {
    rotary_forward(context, rotary, x, out, rstd);
    rotary_backward(context, rotary, rotary.has_norm() ? x : Tensor(), rstd, gradient, d_gamma[0], d_gamma[1]);
  }

  /// f(row, head, offset in x and gradient, offset in out, position, gamma index)
  template <class F>
  void for_each_head(F&& f) const {
    const auto width = static_cast<size_t>(s.head_dim);
    for (int64_t row = 0; row < s.batch * s.tokens; ++row) {
      const int64_t position = rotary.positions.defined() ? rotary.positions.data<int32_t>()[row] : 5 + row % s.tokens;
      for (int64_t head = 0; head < rotary.heads(); ++head) {
        f(static_cast<size_t>(row * x.shape()[2] + head * s.head_dim),
          static_cast<size_t>(row * out.shape()[2] + head * s.head_dim), position, head < s.query_heads ? 0 : 1, width);
      }
    }
  }

  RotarySizes s;
  std::vector<double> x_values, d_values, gamma_values[2];
  Rotary rotary;
  Tensor x, gradient, out, rstd, d_gamma[2];
};

class RotaryTest : public ::testing::TestWithParam<std::tuple<RotarySizes, DType, bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(, RotaryTest,
                         ::testing::Combine(::testing::ValuesIn(kRotarySizes),
                                            ::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool(),
                                            ::testing::Bool()));

TEST_P(RotaryTest, EqualsTheReference) {
  const auto& [sizes, type, norm, explicit_positions] = GetParam();
  const CpuContext cpu(2);
  RotaryExample e(cpu, sizes, type, norm, explicit_positions);
  std::vector<double> expected_out = norm ? std::vector<double>(static_cast<size_t>(e.out.elements())) : e.x_values;
  std::vector<double> expected_d = e.d_values;
  std::vector<double> d_gamma[2];
  for (auto& d : d_gamma) d.resize(static_cast<size_t>(sizes.head_dim));
  const std::vector<double> frequencies =
      sizes.dim > 0 ? rotary_frequencies(sizes.dim, kTheta, {}) : std::vector<double>{};
  e.for_each_head([&](size_t at, size_t out_at, int64_t position, int which, size_t width) {
    const auto gamma = norm ? std::span<const double>(e.gamma_values[which]) : std::span<const double>();
    const auto x = std::span<const double>(e.x_values).subspan(at, width);
    reference::rotary_forward(x, position, frequencies, 1.0, gamma, 1e-6,
                              std::span<double>(expected_out).subspan(out_at, width));
    reference::rotary_backward(x, position, frequencies, 1.0, gamma, 1e-6,
                               std::span<const double>(e.d_values).subspan(at, width),
                               std::span<double>(expected_d).subspan(at, width), d_gamma[which]);
  });
  e.run(cpu);
  // f32: angles of up to 700 radians are rounded to 24 bits. bf16: one rounding at the end.
  const double tolerance = type == DType::kF32 ? 5e-5 : 0x1p-8;
  expect_close(e.out, expected_out, tolerance);
  expect_close(e.gradient, expected_d, tolerance);
  if (!norm) return;
  expect_close(e.d_gamma[0], d_gamma[0], 5e-5);
  expect_close(e.d_gamma[1], d_gamma[1], 5e-5);
}

TEST_P(RotaryTest, BitsDoNotDependOnTheThreads) {
  const auto& [sizes, type, norm, explicit_positions] = GetParam();
  const CpuContext one(1);
  RotaryExample expected(one, sizes, type, norm, explicit_positions);
  expected.run(one);
  for (const int threads : {2, 3, 8}) {
    const CpuContext cpu(threads);
    RotaryExample e(cpu, sizes, type, norm, explicit_positions);
    e.run(cpu);
    EXPECT_TRUE(same_bits(e.out, expected.out)) << threads;
    EXPECT_TRUE(same_bits(e.gradient, expected.gradient)) << threads;
    for (int i = 0; norm && i < 2; ++i) EXPECT_TRUE(same_bits(e.d_gamma[i], expected.d_gamma[i])) << threads;
  }
}

TEST(Rotary, ReferenceGradientsAreCentralDifferences) {
  const std::vector<double> frequencies = rotary_frequencies(6, kTheta, {});
  std::vector<double> x = random_values(8, 1);
  std::vector<double> gamma = random_values(8, 2);
  const std::vector<double> d_y = random_values(8, 3);
  const auto loss = [&] {
    std::vector<double> y(8);
    reference::rotary_forward(x, 11, frequencies, 1.25, gamma, 1e-3, y);
    double sum = 0.0;
    for (size_t i = 0; i < 8; ++i) sum += y[i] * d_y[i];
    return sum;
  };
  std::vector<double> d_x(8), d_gamma(8);
  reference::rotary_backward(x, 11, frequencies, 1.25, gamma, 1e-3, d_y, d_x, d_gamma);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < 8; ++i) {
      const double at = values[i];
      values[i] = at + 1e-5;
      const double above = loss();
      values[i] = at - 1e-5;
      const double below = loss();
      values[i] = at;
      EXPECT_NEAR(gradient[i], (above - below) / 2e-5, 1e-8) << i;
    }
  };
  check(x, d_x);
  check(gamma, d_gamma);
}

TEST(Rotary, TurnedQueriesAndKeysMeetByDistanceAlone) {
  const std::vector<double> q = random_values(16, 1), k = random_values(16, 2);
  const std::vector<double> frequencies = rotary_frequencies(16, 10000.0, {});
  const auto score = [&](int64_t query, int64_t key) {
    std::vector<double> a(16), b(16);
    reference::rotary_forward(q, query, frequencies, 1.0, {}, 0.0, a);
    reference::rotary_forward(k, key, frequencies, 1.0, {}, 0.0, b);
    double sum = 0.0;
    for (size_t i = 0; i < 16; ++i) sum += a[i] * b[i];
    return sum;
  };
  EXPECT_NEAR(score(9, 2), score(1007, 1000), 1e-11);
  EXPECT_GT(std::fabs(score(9, 2) - score(9, 3)), 1e-3);
}

TEST(Rotary, FrequenciesAreThoseOfTransformers) {
  const testing::Golden golden = testing::read_golden("family_ops.txt");
  RotaryScaling linear, llama3, yarn;
  linear.kind = RotaryScaling::Kind::kLinear;
  linear.factor = 2.5;
  llama3.kind = RotaryScaling::Kind::kLlama3;
  llama3.factor = 8.0;
  llama3.original_context = 512;
  yarn.kind = RotaryScaling::Kind::kYarn;
  yarn.factor = 4.0;
  yarn.original_context = 2048;
  const std::pair<const char*, RotaryScaling> cases[] = {
      {"default", {}}, {"linear", linear}, {"llama3", llama3}, {"yarn", yarn}};
  for (const auto& [name, scaling] : cases) {
    const std::string prefix = std::string("rotary.") + name;
    const std::vector<double>& expected = golden.at(prefix + ".frequencies");
    const std::vector<double> actual = rotary_frequencies(64, 10000.0, scaling);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_NEAR(actual[i], expected[i], 1e-6 * expected[i]) << name << ' ' << i;  // theirs are f32
    }
    EXPECT_NEAR(rotary_attention_factor(scaling), golden.at(prefix + ".attention_factor")[0], 1e-7);
  }
}

TEST(Rotary, TheTableHoldsTheAttentionFactor) {
  const CpuContext cpu;
  RotaryScaling yarn;
  yarn.kind = RotaryScaling::Kind::kYarn;
  yarn.factor = 4.0;
  yarn.original_context = 64;
  const Tensor table = rotary_table(cpu, 3, 8, 10000.0, yarn);
  const std::vector<double> frequencies = rotary_frequencies(8, 10000.0, yarn);
  const double factor = 0.1 * std::log(4.0) + 1.0;
  for (int64_t p = 0; p < 3; ++p) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = static_cast<double>(p) * frequencies[static_cast<size_t>(i)];
      EXPECT_NEAR(static_cast<double>(table.data<float>()[p * 8 + i]), factor * std::cos(angle), 1e-6);
      EXPECT_NEAR(static_cast<double>(table.data<float>()[p * 8 + 4 + i]), factor * std::sin(angle), 1e-6);
    }
  }
}

TEST(Rotary, GoldenOfTransformers) {
  const testing::Golden golden = testing::read_golden("family_ops.txt");
  const CpuContext cpu;
  // Theirs are [1, heads, 3, 8]; two query heads, one key head.
  const auto packed = [&](const std::string& query, const std::string& key) {
    std::vector<double> values;
    for (size_t t = 0; t < 3; ++t) {
      for (size_t head = 0; head < 3; ++head) {
        const std::vector<double>& from = golden.at(head < 2 ? query : key);
        const size_t at = ((head < 2 ? head : 0) * 3 + t) * 8;
        values.insert(values.end(), from.begin() + static_cast<int64_t>(at),
                      from.begin() + static_cast<int64_t>(at) + 8);
      }
    }
    return values;
  };
  const auto tensor = [&](std::vector<double> values, Shape shape) {
    return to_tensor(cpu, values, shape, DType::kF32);
  };
  Rotary rotary;
  rotary.query_heads = 2;
  rotary.key_heads = 1;
  rotary.head_dim = 8;
  rotary.table = rotary_table(cpu, 1001, 8, 10000.0, {});
  rotary.query_gamma = tensor(golden.at("rotary.query_gamma"), {8});
  rotary.key_gamma = tensor(golden.at("rotary.key_gamma"), {8});
  rotary.epsilon = 0x1p-17f;
  rotary.positions = cpu.context.empty({1, 3}, DType::kI32);
  for (size_t t = 0; t < 3; ++t) {
    rotary.positions.data<int32_t>()[t] = static_cast<int32_t>(golden.at("rotary.positions")[t]);
  }
  const Tensor x = tensor(packed("rotary.query", "rotary.key"), {1, 3, 24});
  const Tensor y = cpu.context.empty({1, 3, 24}, DType::kF32);
  const Tensor rstd = cpu.context.empty({1, 3, 3}, DType::kF32);
  rotary_forward(cpu, rotary, x, y, rstd);
  expect_close(y, packed("rotary.query_out", "rotary.key_out"), 2e-5);  // angles near 1000 are rounded to f32
  const Tensor d = tensor(packed("rotary.d_query_out", "rotary.d_key_out"), {1, 3, 24});
  const Tensor d_gamma[2] = {cpu.context.empty({8}, DType::kF32), cpu.context.empty({8}, DType::kF32)};
  for (const Tensor& zero : d_gamma) fill_zero(cpu, zero);
  rotary_backward(cpu, rotary, x, rstd, d, d_gamma[0], d_gamma[1]);
  expect_close(d, packed("rotary.d_query", "rotary.d_key"), 2e-5);
  expect_close(d_gamma[0], golden.at("rotary.d_query_gamma"), 2e-5);
  expect_close(d_gamma[1], golden.at("rotary.d_key_gamma"), 2e-5);
}

TEST(RotaryDeathTest, PositionsBeyondTheTable) {
  const CpuContext cpu;
  RotaryExample e(cpu, {1, 3, 1, 1, 4, 4}, DType::kF32, false, true);
  e.rotary.positions.data<int32_t>()[1] = kPositions;
  EXPECT_DEATH(e.run(cpu), "position 700 of token 1");
  e.rotary.positions = Tensor();
  e.rotary.first_position = kPositions - 2;
  EXPECT_DEATH(e.run(cpu), "more positions than the table has");
}

}  // namespace
}  // namespace tsugi
