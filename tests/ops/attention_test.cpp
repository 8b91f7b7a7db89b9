#include "ops/attention/attention.h"

#include <sstream>

#include "ops/base/error.h"
#include "tests/ops/attention_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::Arrays;
using testing::CpuContext;
using testing::Inputs;
using testing::Layout;
using testing::make_inputs;
using testing::make_shape;
using testing::max_abs;
using testing::max_difference;
using testing::Results;
using testing::run;
using testing::run_plain_bf16;
using testing::run_reference;

const Dropout kCausalDropout{.p = 0.25f, .seed = 77, .first_sample = 3, .site = 5};

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected, double relative,
                 const char* what) {
  EXPECT_LE(max_difference(actual, expected), relative * max_abs(expected)) << what;
}

bool same(const Results& a, const Results& b) {
  const auto equal = [](const std::vector<double>& x, const std::vector<double>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
  };
  return equal(a.out, b.out) && equal(a.log_sum_exp, b.log_sum_exp) && equal(a.dq, b.dq) && equal(a.dk, b.dk) &&
         equal(a.dv, b.dv);
}

struct CausalSizes {
  int64_t batch, query_tokens, key_tokens, heads, head_dim;
};

constexpr CausalSizes kCausalSizes[] = {
    {1, 1, 1, 1, 8},      {2, 3, 3, 2, 8},      {2, 3, 5, 2, 24},     {2, 64, 64, 2, 32},
    {3, 65, 65, 2, 16},   {1, 63, 129, 3, 8},   {2, 113, 203, 2, 40}, {1, 200, 200, 2, 64},
    {2, 128, 128, 1, 64}, {1, 130, 400, 1, 17}, {2, 1, 77, 3, 20},    {1, 2, 257, 2, 13},
};

class AttentionTest : public ::testing::TestWithParam<std::tuple<CausalSizes, DType, bool>> {
 protected:
  AttentionShape shape() const {
    const auto& [s, dtype, drops] = GetParam();
    return make_shape(s.batch, s.query_tokens, s.key_tokens, s.heads, s.head_dim, dtype);
  }
  Dropout dropout() const { return std::get<2>(GetParam()) ? kCausalDropout : Dropout{}; }
};

TEST_P(AttentionTest, EqualsTheReference) {
  CpuContext cpu(2);
  const Inputs inputs = make_inputs(shape(), 1);
  const Results expected = run_reference(shape(), inputs, dropout());
  const Results actual = run(cpu, shape(), inputs, dropout());
  // With a single key dq and dk are exact zeros; the kernel's are the rounding of a difference of equal numbers.
  const double unit = shape().dtype == DType::kF32 ? 1e-6 : 1.0 / 256.0;
  const double vanishing =
      shape().key_tokens == 1 ? unit * max_abs(inputs.d_out) * max_abs(inputs.v) * max_abs(inputs.k) : 0.0;
  const Results plain = shape().dtype == DType::kF32 ? Results{} : run_plain_bf16(shape(), inputs, dropout());
  const auto expect_right = [&](std::vector<double> Results::* array, double absolute, const char* what) {
    const double bound = shape().dtype == DType::kF32
                             ? 2e-6 * max_abs(expected.*array)
                             // at most twice the error of the plain program, plus one rounding
                             : 2.0 * max_difference(plain.*array, expected.*array) + unit * max_abs(expected.*array);
    EXPECT_LE(max_difference(actual.*array, expected.*array), bound + absolute) << what;
  };
  expect_right(&Results::out, 0.0, "out");
  expect_right(&Results::dq, vanishing, "dq");
  expect_right(&Results::dk, vanishing, "dk");
  expect_right(&Results::dv, 0.0, "dv");
}

TEST_P(AttentionTest, ThreadsDoNotChangeBits) {
  const Inputs inputs = make_inputs(shape(), 3);
  CpuContext one(1);
  const Results expected = run(one, shape(), inputs, dropout());
  for (const int threads : {2, 3, 4, 8}) {
    CpuContext cpu(threads);
    EXPECT_TRUE(same(run(cpu, shape(), inputs, dropout()), expected)) << threads << " threads";
  }
}

std::string name_of_sizes(const ::testing::TestParamInfo<AttentionTest::ParamType>& test) {
  const auto& [s, dtype, drops] = test.param;
  std::ostringstream name;
  name << 'B' << s.batch << 'Q' << s.query_tokens << 'K' << s.key_tokens << 'H' << s.heads << 'D' << s.head_dim
       << name_of(dtype) << (drops ? "dropout" : "");
  return name.str();
}

INSTANTIATE_TEST_SUITE_P(Sizes, AttentionTest,
                         ::testing::Combine(::testing::ValuesIn(kCausalSizes),
                                            ::testing::Values(DType::kF32, DType::kBF16), ::testing::Bool()),
                         name_of_sizes);

TEST(AttentionReference, GradientsAreCentralDifferences) {
  const AttentionShape shape = make_shape(2, 3, 5, 2, 4);
  Inputs inputs = make_inputs(shape, 4);
  const Results analytic = run_reference(shape, inputs, kCausalDropout);
  std::vector<double> out(inputs.q.size());
  const auto loss = [&] {
    reference::attention_forward(shape, inputs.q, inputs.k, inputs.v, kCausalDropout, out);
    double sum = 0.0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * inputs.d_out[i];
    return sum;
  };
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double saved = values[i];
      constexpr double kStep = 1e-5;
      values[i] = saved + kStep;
      const double above = loss();
      values[i] = saved - kStep;
      const double below = loss();
      values[i] = saved;
      ASSERT_NEAR((above - below) / (2.0 * kStep), gradient[i], 1e-8) << i;
    }
  };
  check(inputs.q, analytic.dq);
  check(inputs.k, analytic.dk);
  check(inputs.v, analytic.dv);
}

TEST(Attention, GoldenOfPyTorch) {
  const testing::Golden golden = testing::read_golden("attention.txt");
  const std::vector<double>& sizes = golden.at("shape");
  const auto size = [&](size_t i) { return static_cast<int64_t>(sizes[i]); };
  const AttentionShape shape = make_shape(size(0), size(1), size(1), size(2), size(3));
  const Inputs inputs{golden.at("q"), golden.at("k"), golden.at("v"), golden.at("d_out")};

  const Results reference = run_reference(shape, inputs);
  CpuContext cpu;
  const Results actual = run(cpu, shape, inputs, {}, Layout::kPacked);
  expect_near(actual.log_sum_exp, golden.at("log_sum_exp"), 1e-6, "log_sum_exp");
  const std::pair<const char*, std::vector<double> Results::*> arrays[] = {
      {"out", &Results::out}, {"dq", &Results::dq}, {"dk", &Results::dk}, {"dv", &Results::dv}};
  for (const auto& [name, array] : arrays) {
    expect_near(reference.*array, golden.at(name), 1e-13, name);
    expect_near(actual.*array, golden.at(name), 1e-6, name);
  }
}

TEST(Attention, PackedArraysGiveTheSameBits) {
  CpuContext cpu(2);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const CausalSizes& s : kCausalSizes) {
      if (s.query_tokens != s.key_tokens) continue;
      const AttentionShape shape = make_shape(s.batch, s.query_tokens, s.key_tokens, s.heads, s.head_dim, dtype);
      const Inputs inputs = make_inputs(shape, 2);
      EXPECT_TRUE(same(run(cpu, shape, inputs, kCausalDropout, Layout::kPacked),
                       run(cpu, shape, inputs, kCausalDropout, Layout::kCache)));
    }
  }
}

TEST(Attention, ScoresOfAnySizeAreFine) {
  // Scores of several hundred: exp would overflow without the running maximum, which moves in many rows.
  const AttentionShape shape = make_shape(1, 300, 300, 2, 16);
  const Inputs inputs = make_inputs(shape, 5, 12.0);
  CpuContext cpu;
  const Results expected = run_reference(shape, inputs);
  const Results actual = run(cpu, shape, inputs);
  expect_near(actual.out, expected.out, 2e-4, "out");
  expect_near(actual.dq, expected.dq, 2e-4, "dq");
  expect_near(actual.dk, expected.dk, 2e-4, "dk");
  expect_near(actual.dv, expected.dv, 2e-4, "dv");
}

TEST(Attention, EarlierTokensDoNotSeeLaterOnes) {
  for (const auto& [dtype, dropout] : {std::pair{DType::kF32, kCausalDropout}, std::pair{DType::kBF16, kCausalDropout},
                                       std::pair{DType::kBF16, Dropout{}}}) {
    const AttentionShape shape = make_shape(1, 200, 200, 2, 24, dtype);
    const Inputs inputs = make_inputs(shape, 6);
    const Inputs others = make_inputs(shape, 7);
    CpuContext cpu(2);
    const Results before = run(cpu, shape, inputs, dropout);
    const auto width = static_cast<size_t>(shape.heads * shape.head_dim);
    for (const size_t token : {1, 63, 64, 100, 127, 128, 199}) {
      Inputs changed = inputs;
      const auto replace = [&](std::vector<double>& values, const std::vector<double>& by) {
        std::copy(by.begin() + token * width, by.begin() + (token + 1) * width, values.begin() + token * width);
      };
      replace(changed.q, others.q);
      replace(changed.k, others.k);
      replace(changed.v, others.v);
      const Results after = run(cpu, shape, changed, dropout);
      EXPECT_EQ(std::memcmp(before.out.data(), after.out.data(), token * width * sizeof(double)), 0) << token;
      EXPECT_NE(std::memcmp(&before.out[token * width], &after.out[token * width], width * sizeof(double)), 0);
    }
  }
}

TEST(Attention, WhatIsNotANumberStaysVisible) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const AttentionShape shape = make_shape(1, 100, 100, 1, 16, dtype);
    CpuContext cpu(2);
    for (const double value : {testing::kNan, std::numeric_limits<double>::infinity()}) {
      Inputs inputs = make_inputs(shape, 8);
      inputs.k[70 * 16] = value;
      Arrays arrays(cpu, shape, Layout::kCache);
      arrays.write(0, inputs.q);
      arrays.write(1, inputs.k);
      arrays.write(2, inputs.v);
      const Tensor out = cpu.context.empty({1, 100, 16}, dtype);
      attention_forward(cpu, shape, arrays[0], arrays[1], arrays[2], {}, out, Tensor());
      const std::vector<double> results = testing::to_doubles(out);
      EXPECT_TRUE(
          std::ranges::all_of(results.begin(), results.begin() + 70 * 16, [](double x) { return std::isfinite(x); }));
      // An infinite key gives a score of +inf or -inf, by the sign of the query.
      for (size_t query = 70; query < 100; ++query) {
        if (std::isnan(value) || inputs.q[query * 16] > 0) {
          EXPECT_TRUE(std::isnan(results[query * 16])) << query;
        }
      }
    }
  }
}

TEST(Attention, HeadsAreAlike) {
  const AttentionShape shape = make_shape(2, 70, 140, 3, 16);
  const Inputs inputs = make_inputs(shape, 8);
  const auto permuted = [&](const std::vector<double>& values) {
    std::vector<double> result(values.size());
    const auto width = static_cast<size_t>(shape.head_dim);
    const auto heads = static_cast<size_t>(shape.heads);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t row = i / (heads * width);
      const size_t head = i / width % heads;
      result[(row * heads + (head + 1) % heads) * width + i % width] = values[i];
    }
    return result;
  };
  CpuContext cpu(2);
  Results first = run(cpu, shape, inputs);
  Results second =
      run(cpu, shape, {permuted(inputs.q), permuted(inputs.k), permuted(inputs.v), permuted(inputs.d_out)});
  EXPECT_NE(first.out, second.out);
  EXPECT_EQ(permuted(first.out), second.out);
  EXPECT_EQ(permuted(first.dq), second.dq);
  EXPECT_EQ(permuted(first.dk), second.dk);
  EXPECT_EQ(permuted(first.dv), second.dv);
}

TEST(Attention, DecodingWithACacheIsTheLastRowsOfTheWhole) {
  const AttentionShape whole = make_shape(2, 150, 150, 2, 32);
  const Inputs inputs = make_inputs(whole, 9);
  CpuContext cpu(2);
  Arrays arrays(cpu, whole, Layout::kPacked);
  arrays.write(0, inputs.q);
  arrays.write(1, inputs.k);
  arrays.write(2, inputs.v);
  const int64_t width = whole.heads * whole.head_dim;
  const Tensor all = cpu.context.empty({2, 150, width}, DType::kF32);
  attention_forward(cpu, whole, arrays[0], arrays[1], arrays[2], {}, all, Tensor());

  for (const int64_t keys : {1, 2, 64, 129, 150}) {
    for (const int64_t queries : {1, 2, 40}) {
      if (queries > keys) continue;
      const AttentionShape last = make_shape(2, queries, keys, 2, 32);
      HeadsView q = arrays[0];
      q.data = static_cast<float*>(q.data) + (keys - queries) * q.token_stride;
      const Tensor out = cpu.context.empty({2, queries, width}, DType::kF32);
      attention_forward(cpu, last, q, arrays[1], arrays[2], {}, out, Tensor());
      for (int64_t b = 0; b < 2; ++b) {
        const Tensor rows = all.slice((b * 150 + keys - queries) * width, {queries, width});
        testing::expect_close(out.slice(b * queries * width, {queries, width}), testing::to_doubles(rows), 1e-6);
      }
    }
  }
}

TEST(Attention, NotANumberIsNotHidden) {
  for (const int64_t queries : {1, 90}) {
    const AttentionShape shape = make_shape(1, queries, 90, 1, 8);
    CpuContext cpu;
    Inputs inputs = make_inputs(shape, 10);
    Arrays arrays(cpu, shape, Layout::kCache);
    inputs.k[0] = testing::kNan;  // every query sees token 0
    arrays.write(0, inputs.q);
    arrays.write(1, inputs.k);
    arrays.write(2, inputs.v);
    const Tensor out = cpu.context.empty({1, queries, 8}, DType::kF32);
    attention_forward(cpu, shape, arrays[0], arrays[1], arrays[2], {}, out, Tensor());
    for (const double value : testing::to_doubles(out)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Attention, MetaComputesNothing) {
  const AttentionShape shape = make_shape(2, 10, 10, 2, 8);
  ThreadPool pool(1);
  PlanningMemory memory;
  const Context meta(Device{.meta = true}, pool, memory);
  const Tensor out = meta.empty({2, 10, 16}, DType::kF32);
  const Tensor log_sum_exp = meta.empty({2, 2, 10}, DType::kF32);
  attention_forward(meta, shape, {}, {}, {}, {}, out, log_sum_exp);
  attention_backward(meta, shape, {}, {}, {}, {}, out, log_sum_exp, out, {}, {}, {});
}

TEST(AttentionDeathTest, ShapesAreChecked) {
  CpuContext cpu;
  const Tensor out = cpu.context.empty({1, 4, 8}, DType::kF32);
  const HeadsView view{out.raw(), 32, 8, 8};
  const auto forward = [&](const AttentionShape& shape) {
    attention_forward(cpu, shape, view, view, view, {}, out, Tensor());
  };
  EXPECT_DEATH(forward(make_shape(1, 4, 3, 1, 8)), "last of the keys");
  EXPECT_DEATH(forward(make_shape(1, 4, 4, 1, 4)), "out.shape");
  EXPECT_DEATH(forward(make_shape(1, 4, 4, 1, 8, DType::kBF16)), "dtype");
}

}  // namespace
}  // namespace tsugi
