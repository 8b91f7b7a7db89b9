// Fused attention against the double reference: with mma.sync, and with wgmma and TMA.
#include "ops/attention/attention.h"

#include <cmath>
#include <limits>

#include "ops/attention/attention_cuda.h"
#include "ops/base/error.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi::testing {
namespace {

using cuda::AttentionKernel;
using cuda::DeviceAttentionShape;
using cuda::DeviceHeads;
using cuda::Stream;

constexpr DType kType = DType::kBF16;

/// One attention and everything that the two passes read and write.
struct Example {
  struct Options {
    const char* name;
    int64_t batch, query_tokens, key_tokens, heads, key_heads, head_dim;
    bool causal = true;
    int64_t window = 0;
    bool documents = false;  ///< first_key and end_key, with some queries that see nothing
    Dropout dropout = {};
    bool bias = false;  ///< relative_bias
  };

  explicit Example(const Options& options) : o(options) {
    shape.batch = o.batch;
    shape.query_tokens = o.query_tokens;
    shape.key_tokens = o.key_tokens;
    shape.heads = o.heads;
    shape.key_heads = o.key_heads;
    shape.head_dim = o.head_dim;
    shape.dtype = kType;
    shape.scale = 1.0f / std::sqrt(static_cast<float>(o.head_dim));
    shape.causal = o.causal;
    shape.window = o.window;
    if (o.documents) {
      for (int64_t row = 0; row < o.batch * o.query_tokens; ++row) {
        const int64_t query = row % o.query_tokens;
        const auto diagonal = static_cast<int32_t>(query + o.key_tokens - o.query_tokens);
        first.push_back(query % 31 == 30 ? diagonal + 1 : diagonal / 50 * 50);
        end.push_back(static_cast<int32_t>(o.key_tokens - 5));
      }
      shape.first_key = Tensor::view(first.data(), {o.batch, o.query_tokens}, DType::kI32);
      shape.end_key = Tensor::view(end.data(), {o.batch, o.query_tokens}, DType::kI32);
    }
    if (o.bias) {
      const int64_t columns = o.key_tokens + o.query_tokens - 1;
      for (const double value : random_values(o.heads * columns, 5)) bias.push_back(2.0f * static_cast<float>(value));
      shape.relative_bias = Tensor::view(bias.data(), {o.heads, columns}, DType::kF32);
    }
    q = random_values(query_elements(), 1);
    k = random_values(key_elements(), 2);
    v = random_values(key_elements(), 3);
    d_out = random_values(query_elements(), 4);
  }
  int64_t query_elements() const { return o.batch * o.query_tokens * o.heads * o.head_dim; }
  /// Of head, query and key in relative_bias.
  size_t column(int64_t head, int64_t query, int64_t key) const {
    return static_cast<size_t>(head * (o.key_tokens + o.query_tokens - 1) + key - query + o.query_tokens - 1);
  }
  int64_t key_elements() const { return o.batch * o.key_tokens * o.key_heads * o.head_dim; }

  Options o;
  AttentionShape shape;
  std::vector<int32_t> first, end;
  std::vector<float> bias;
  std::vector<double> q, k, v, d_out;
};

struct Results {
  std::vector<double> out, dq, dk, dv;
  std::vector<double> log_sum_exp;
  std::vector<double> d_bias = {};
};

DeviceHeads heads_in(const DeviceArray& array, int64_t tokens, int64_t heads, int64_t head_dim) {
  return {static_cast<bf16*>(array.data()), tokens * heads * head_dim, heads * head_dim, head_dim};
}

/// `window` replaces that of the example.
/// Without `backward`, results of the forward pass alone.
Results run_kernels(Example& e, int64_t window, AttentionKernel kernel = AttentionKernel::kMma, bool backward = true) {
  const DeviceArray q(e.q, kType), k(e.k, kType), v(e.v, kType), d_out(e.d_out, kType);
  const DeviceArray out(e.query_elements(), kType), dq(e.query_elements(), kType);
  const DeviceArray dk(e.key_elements(), kType), dv(e.key_elements(), kType);
  const DeviceArray log_sum_exp(e.o.batch * e.o.heads * e.o.query_tokens, DType::kF32);
  DeviceAttentionShape shape{.batch = static_cast<int>(e.o.batch),
                             .query_tokens = static_cast<int>(e.o.query_tokens),
                             .key_tokens = static_cast<int>(e.o.key_tokens),
                             .heads = static_cast<int>(e.o.heads),
                             .key_heads = static_cast<int>(e.o.key_heads),
                             .head_dim = static_cast<int>(e.o.head_dim),
                             .scale = e.shape.scale,
                             .causal = e.o.causal,
                             .window = static_cast<int>(window)};
  const DeviceVector<int32_t> first(e.first), end(e.end);
  const DeviceVector<float> bias(e.bias), d_bias(std::vector<float>(e.bias.size(), 7.0f));
  if (e.o.bias) shape.relative_bias = bias.data();
  if (e.o.documents) {
    shape.first_key = first.data();
    shape.end_key = end.data();
  }
  const auto queries = [&](const DeviceArray& x) { return heads_in(x, e.o.query_tokens, e.o.heads, e.o.head_dim); };
  const auto keys = [&](const DeviceArray& x) { return heads_in(x, e.o.key_tokens, e.o.key_heads, e.o.head_dim); };
  const cuda::Buffer scratch(cuda::attention_scratch_bytes(shape, e.o.bias));
  const cuda::DropoutKey dropout = cuda::dropout_key(e.o.dropout);
  Stream stream;
  cuda::attention_forward(stream, shape, queries(q), keys(k), keys(v), dropout, static_cast<bf16*>(out.data()),
                          log_sum_exp.floats(), kernel);
  if (!backward) return {out.read(stream), {}, {}, {}, log_sum_exp.read(stream)};
  cuda::attention_backward(stream, shape, queries(q), keys(k), keys(v), dropout, static_cast<bf16*>(out.data()),
                           log_sum_exp.floats(), static_cast<bf16*>(d_out.data()), scratch.data(), queries(dq),
                           keys(dk), keys(dv), kernel, e.o.bias ? d_bias.data() : nullptr);
  const std::vector<float> sums = d_bias.read(stream);
  return {out.read(stream), dq.read(stream),          dk.read(stream),
          dv.read(stream),  log_sum_exp.read(stream), {sums.begin(), sums.end()}};
}

Results exact_results(const Example& e) {
  Results r;
  const auto queries = static_cast<size_t>(e.query_elements());
  const auto keys = static_cast<size_t>(e.key_elements());
  r.out.resize(queries);
  r.dq.resize(queries);
  r.dk.resize(keys);
  r.dv.resize(keys);
  reference::attention_forward(e.shape, e.q, e.k, e.v, e.o.dropout, r.out);
  r.d_bias.resize(e.bias.size());
  reference::attention_backward(e.shape, e.q, e.k, e.v, e.o.dropout, e.d_out, r.dq, r.dk, r.dv, r.d_bias);
  return r;
}

/// The same mathematics done plainly in bf16: every matrix between two products is rounded.
Results plain_results(const Example& e) {
  const auto round = [](double x) { return rounded(x, kType); };
  const auto dim = static_cast<size_t>(e.o.head_dim);
  Results r;
  r.out.assign(e.q.size(), 0.0);
  r.dq.assign(e.q.size(), 0.0);
  r.dk.assign(e.k.size(), 0.0);
  r.dv.assign(e.k.size(), 0.0);
  r.d_bias.assign(e.bias.size(), 0.0);
  for (int64_t b = 0; b < e.o.batch; ++b) {
    for (int64_t h = 0; h < e.o.heads; ++h) {
      const int64_t key_head = h / (e.o.heads / e.o.key_heads);
      for (int64_t i = 0; i < e.o.query_tokens; ++i) {
        const auto at = static_cast<size_t>((b * e.o.query_tokens + i) * e.o.heads + h) * dim;
        const auto key_at = [&](int64_t j) {
          return static_cast<size_t>((b * e.o.key_tokens + j) * e.o.key_heads + key_head) * dim;
        };
        const auto dot = [&](const std::vector<double>& x, size_t x_at, const std::vector<double>& y, size_t y_at) {
          double sum = 0.0;
          for (size_t d = 0; d < dim; ++d) sum += x[x_at + d] * y[y_at + d];
          return sum;
        };
        std::vector<int64_t> seen;
        std::vector<double> p, factors;
        double largest = -std::numeric_limits<double>::infinity(), sum = 0.0;
        for (int64_t j = 0; j < e.o.key_tokens; ++j) {
          const int64_t distance = i + e.o.key_tokens - e.o.query_tokens - j;
          const auto row = static_cast<size_t>(b * e.o.query_tokens + i);
          if (e.o.causal && distance < 0) continue;
          if (e.o.window > 0 && std::abs(distance) >= e.o.window) continue;
          if (e.o.documents && (j < e.first[row] || j >= e.end[row])) continue;
          seen.push_back(j);
          const double by_distance = e.o.bias ? static_cast<double>(e.bias[e.column(h, i, j)]) : 0.0;
          p.push_back(round(static_cast<double>(e.shape.scale) * dot(e.q, at, e.k, key_at(j)) + by_distance));
          largest = std::max(largest, p.back());
          const int64_t element = (h * e.o.query_tokens + i) * e.o.key_tokens + j;
          const Dropout& dropout = e.o.dropout;
          const bool dropped =
              dropout.active() && dropout.stream(b).word(static_cast<uint64_t>(element)) < dropout.threshold();
          factors.push_back(dropped ? 0.0 : static_cast<double>(dropout.keep_scale()));
        }
        for (double& x : p) sum += x = std::exp(x - largest);
        for (double& x : p) x = round(x / sum);
        double delta = 0.0;
        std::vector<double> dp;
        for (size_t n = 0; n < seen.size(); ++n) {
          for (size_t d = 0; d < dim; ++d) {
            r.out[at + d] += round(p[n] * factors[n]) * e.v[key_at(seen[n]) + d];
            r.dv[key_at(seen[n]) + d] += round(p[n] * factors[n]) * e.d_out[at + d];
          }
          dp.push_back(round(dot(e.d_out, at, e.v, key_at(seen[n])) * factors[n]));
          delta += p[n] * dp[n];
        }
        for (size_t n = 0; n < seen.size(); ++n) {
          if (e.o.bias) r.d_bias[e.column(h, i, seen[n])] += round(p[n] * (dp[n] - delta));
          const double ds = round(round(p[n] * (dp[n] - delta)) * static_cast<double>(e.shape.scale));
          for (size_t d = 0; d < dim; ++d) {
            r.dq[at + d] += ds * e.k[key_at(seen[n]) + d];
            r.dk[key_at(seen[n]) + d] += ds * e.q[at + d];
          }
        }
      }
    }
  }
  for (auto* values : {&r.out, &r.dq, &r.dk, &r.dv}) *values = rounded(*values, kType);
  return r;
}

const Dropout kDropout{.p = 0.2f, .seed = 9, .first_sample = 3, .site = 2};
const Example::Options kExamples[] = {
    {.name = "one", .batch = 1, .query_tokens = 1, .key_tokens = 1, .heads = 1, .key_heads = 1, .head_dim = 64},
    {.name = "causal", .batch = 2, .query_tokens = 70, .key_tokens = 70, .heads = 2, .key_heads = 2, .head_dim = 64},
    {.name = "long", .batch = 1, .query_tokens = 201, .key_tokens = 201, .heads = 1, .key_heads = 1, .head_dim = 64},
    {.name = "wide", .batch = 1, .query_tokens = 130, .key_tokens = 130, .heads = 1, .key_heads = 1, .head_dim = 128},
    {.name = "cached", .batch = 1, .query_tokens = 33, .key_tokens = 97, .heads = 2, .key_heads = 2, .head_dim = 128},
    {.name = "grouped", .batch = 1, .query_tokens = 67, .key_tokens = 67, .heads = 4, .key_heads = 2, .head_dim = 64},
    {.name = "window",
     .batch = 1,
     .query_tokens = 150,
     .key_tokens = 150,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .window = 40},
    {.name = "cross",
     .batch = 1,
     .query_tokens = 65,
     .key_tokens = 40,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .causal = false},
    {.name = "both_sides",
     .batch = 1,
     .query_tokens = 140,
     .key_tokens = 140,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .causal = false,
     .window = 30},
    {.name = "documents",
     .batch = 2,
     .query_tokens = 150,
     .key_tokens = 150,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .documents = true},
    {.name = "wide_documents",
     .batch = 1,
     .query_tokens = 99,
     .key_tokens = 99,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 128,
     .documents = true},
    {.name = "narrow_heads",
     .batch = 1,
     .query_tokens = 40,
     .key_tokens = 40,
     .heads = 3,
     .key_heads = 3,
     .head_dim = 24},
    {.name = "padded_heads",
     .batch = 1,
     .query_tokens = 40,
     .key_tokens = 40,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 96},
    {.name = "dropout",
     .batch = 2,
     .query_tokens = 67,
     .key_tokens = 67,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 64,
     .dropout = kDropout},
    {.name = "wide_dropout",
     .batch = 1,
     .query_tokens = 35,
     .key_tokens = 41,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 128,
     .dropout = kDropout},
};

/// At most twice as far from the exact results as plain bf16 is.
void expect_right(const Results& actual, const Example& e) {
  const Results exact = exact_results(e);
  const Results plain = plain_results(e);
  expect_within_twice(actual.out, plain.out, exact.out, kType);
  expect_within_twice(actual.dq, plain.dq, exact.dq, kType);
  expect_within_twice(actual.dk, plain.dk, exact.dk, kType);
  expect_within_twice(actual.dv, plain.dv, exact.dv, kType);
  if (e.o.bias) expect_within_twice(actual.d_bias, plain.d_bias, exact.d_bias, kType);
}

class CudaAttention : public ::testing::TestWithParam<Example::Options> {};
const Example::Options kBiasedExamples[] = {
    {.name = "both_sides",
     .batch = 2,
     .query_tokens = 150,
     .key_tokens = 150,
     .heads = 2,
     .key_heads = 2,
     .head_dim = 64,
     .causal = false,
     .bias = true},
    {.name = "causal",
     .batch = 1,
     .query_tokens = 131,
     .key_tokens = 131,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 24,
     .bias = true},
    {.name = "padding",
     .batch = 2,
     .query_tokens = 70,
     .key_tokens = 70,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .causal = false,
     .documents = true,
     .bias = true},
    {.name = "wide",
     .batch = 1,
     .query_tokens = 67,
     .key_tokens = 130,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 128,
     .bias = true},
    {.name = "one",
     .batch = 1,
     .query_tokens = 1,
     .key_tokens = 1,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 8,
     .bias = true},
    {.name = "dropout",
     .batch = 2,
     .query_tokens = 67,
     .key_tokens = 67,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 64,
     .dropout = kDropout,
     .bias = true},
};
INSTANTIATE_TEST_SUITE_P(Biased, CudaAttention, ::testing::ValuesIn(kBiasedExamples),
                         [](const auto& example) { return example.param.name; });
INSTANTIATE_TEST_SUITE_P(, CudaAttention, ::testing::ValuesIn(kExamples),
                         [](const auto& example) { return example.param.name; });

TEST_P(CudaAttention, EqualsTheReference) {
  Example e(GetParam());
  const Results actual = run_kernels(e, e.o.window);
  expect_right(actual, e);
}

/// Those that the backward pass reads, of two kernels.
void expect_log_sums(const Results& actual, const Results& expected) {
  ASSERT_EQ(actual.log_sum_exp.size(), expected.log_sum_exp.size());
  for (size_t i = 0; i < actual.log_sum_exp.size(); ++i) {
    if (std::isinf(expected.log_sum_exp[i])) {
      EXPECT_EQ(actual.log_sum_exp[i], expected.log_sum_exp[i]) << i;
    } else {
      EXPECT_NEAR(actual.log_sum_exp[i], expected.log_sum_exp[i], 1e-4) << i;
    }
  }
}

// What the rings, the turns and the places of one block need: several tiles of keys, several places per block, queries
// whose warpgroup needs fewer tiles than its neighbours.
const Example::Options kHopperExamples[] = {
    {.name = "ring", .batch = 1, .query_tokens = 430, .key_tokens = 430, .heads = 3, .key_heads = 1, .head_dim = 64},
    {.name = "wide_ring",
     .batch = 2,
     .query_tokens = 300,
     .key_tokens = 420,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 128},
    {.name = "moving_window",
     .batch = 1,
     .query_tokens = 640,
     .key_tokens = 640,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .window = 100},
    {.name = "all_pairs",
     .batch = 2,
     .query_tokens = 200,
     .key_tokens = 390,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .causal = false},
    {.name = "many_documents",
     .batch = 1,
     .query_tokens = 450,
     .key_tokens = 450,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .documents = true},
};

class CudaHopperAttention : public ::testing::TestWithParam<std::tuple<Example::Options, AttentionKernel>> {
 protected:
  void SetUp() override {
    if (!cuda::has_wgmma()) GTEST_SKIP() << "this device has no wgmma";
  }
};
std::string name_of_hopper_example(
    const ::testing::TestParamInfo<std::tuple<Example::Options, AttentionKernel>>& info) {
  const auto [options, kernel] = info.param;
  return std::string(kernel == AttentionKernel::kPingPong ? "ping_pong_" : "wgmma_") + options.name;
}
constexpr AttentionKernel kHopperKernels[] = {AttentionKernel::kWgmma, AttentionKernel::kPingPong};
INSTANTIATE_TEST_SUITE_P(Small, CudaHopperAttention,
                         ::testing::Combine(::testing::ValuesIn(kExamples), ::testing::ValuesIn(kHopperKernels)),
                         name_of_hopper_example);
INSTANTIATE_TEST_SUITE_P(Rings, CudaHopperAttention,
                         ::testing::Combine(::testing::ValuesIn(kHopperExamples), ::testing::ValuesIn(kHopperKernels)),
                         name_of_hopper_example);

TEST_P(CudaHopperAttention, EqualsTheReference) {
  const auto [options, kernel] = GetParam();
  Example e(options);
  if (options.dropout.active()) {
    EXPECT_THROW(run_kernels(e, e.o.window, kernel), Error);
    return;
  }
  const Results actual = run_kernels(e, e.o.window, kernel);
  expect_right(actual, e);
  expect_log_sums(actual, run_kernels(e, e.o.window, AttentionKernel::kMma, false));
}

TEST(CudaAttentionBits, OfWgmmaDoNotDependOnTheOrderOfExecution) {
  if (!cuda::has_wgmma()) GTEST_SKIP() << "this device has no wgmma";
  for (const AttentionKernel kernel : kHopperKernels) {
    std::vector<Results> all;
    for_seeds([&] {
      Example e(
          {.name = "", .batch = 1, .query_tokens = 400, .key_tokens = 400, .heads = 2, .key_heads = 1, .head_dim = 64});
      all.push_back(run_kernels(e, 0, kernel));
    });
    for (const Results& r : all) {
      EXPECT_EQ(r.out, all[0].out);
      EXPECT_EQ(r.log_sum_exp, all[0].log_sum_exp);
      EXPECT_EQ(r.dq, all[0].dq);
      EXPECT_EQ(r.dk, all[0].dk);
      EXPECT_EQ(r.dv, all[0].dv);
    }
  }
}

TEST(CudaAttentionBits, DoNotDependOnTheOrderOfExecution) {
  std::vector<Results> all;
  for_seeds([&] {
    Example e(
        {.name = "", .batch = 1, .query_tokens = 130, .key_tokens = 130, .heads = 2, .key_heads = 1, .head_dim = 64});
    all.push_back(run_kernels(e, 0));
  });
  for (const Results& r : all) {
    EXPECT_EQ(r.out, all[0].out);
    EXPECT_EQ(r.dq, all[0].dq);
    EXPECT_EQ(r.dk, all[0].dk);
    EXPECT_EQ(r.dv, all[0].dv);
  }
}

TEST(CudaAttentionBits, OfNumbersByDistanceDoNotDependOnTheOrderOfExecution) {
  std::vector<Results> all;
  for_seeds([&] {
    Example e(kBiasedExamples[0]);
    all.push_back(run_kernels(e, 0));
  });
  for (const Results& r : all) {
    EXPECT_EQ(r.out, all[0].out);
    EXPECT_EQ(r.d_bias, all[0].d_bias);
  }
}

TEST(CudaAttentionRanges, AQueryThatSeesNothingGivesZeros) {
  Example e({.name = "",
             .batch = 1,
             .query_tokens = 62,
             .key_tokens = 62,
             .heads = 1,
             .key_heads = 1,
             .head_dim = 64,
             .documents = true});
  const Results r = run_kernels(e, 0);
  EXPECT_EQ(r.log_sum_exp[30], std::numeric_limits<double>::infinity());
  for (size_t d = 0; d < 64; ++d) {
    EXPECT_EQ(r.out[30 * 64 + d], 0.0);
    EXPECT_EQ(r.dq[30 * 64 + d], 0.0);
  }
}

TEST(SeededBugs, WrongMaskBound) {
  Example e({.name = "",
             .batch = 1,
             .query_tokens = 150,
             .key_tokens = 150,
             .heads = 1,
             .key_heads = 1,
             .head_dim = 64,
             .window = 40});
  const Results wrong = run_kernels(e, 41);
  const Results exact = exact_results(e);
  const Results plain = plain_results(e);
  EXPECT_FALSE(within_twice(wrong.out, plain.out, exact.out, kType));
  EXPECT_FALSE(within_twice(wrong.dq, plain.dq, exact.dq, kType));
  EXPECT_FALSE(within_twice(wrong.dk, plain.dk, exact.dk, kType));
  EXPECT_FALSE(within_twice(wrong.dv, plain.dv, exact.dv, kType));
}

TEST(CudaAttentionRanges, SaysWhatItCannotDo) {
  Example biased(kBiasedExamples[0]);
  EXPECT_THROW(run_kernels(biased, 0, AttentionKernel::kWgmma, false), Error);
  Stream stream;
  for (const int head_dim : {4, 65, 136}) {
    EXPECT_THROW(cuda::attention_forward(stream, {.head_dim = head_dim}, {}, {}, {}, {}, nullptr, nullptr), Error);
  }
}

}  // namespace
}  // namespace tsugi::testing
