// Fused attention against the double reference: with mma.sync, and with wgmma and TMA.
#include "ops/attention/attention_cuda.h"
#include "ops/base/error.h"
#include "ops/cuda/operators.h"
#include "tests/ops/cuda/attention_example.h"

namespace tsugi::testing {
namespace {

using cuda::AttentionKernel;
using cuda::DeviceAttentionShape;
using cuda::DeviceHeads;
using cuda::Stream;

constexpr DType kType = DType::kBF16;

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
  const cuda::Buffer scratch(cuda::attention_scratch_bytes(shape, e.o.bias, kernel));
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
    // Rows of whole blocks of random words, which lanes then share.
    {.name = "dropout_by_blocks",
     .batch = 2,
     .query_tokens = 131,
     .key_tokens = 132,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 64,
     .causal = false,
     .dropout = kDropout},
    {.name = "wide_dropout_by_blocks",
     .batch = 2,
     .query_tokens = 67,
     .key_tokens = 76,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 128,
     .causal = false,
     .dropout = kDropout},
};

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
    {.name = "dropout_by_blocks",
     .batch = 1,
     .query_tokens = 70,
     .key_tokens = 68,
     .heads = 2,
     .key_heads = 2,
     .head_dim = 128,
     .causal = false,
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
    // More than 32 tiles of queries, of which the last few alone see keys.
    {.name = "many_tiles",
     .batch = 1,
     .query_tokens = 2150,
     .key_tokens = 200,
     .heads = 2,
     .key_heads = 1,
     .head_dim = 64},
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

/// Where blocks add to dq in turns: tiles of queries that meet several tiles of 128 keys, by all of them or by a band.
const Example::Options kTurnExamples[] = {
    {.name = "causal", .batch = 1, .query_tokens = 400, .key_tokens = 400, .heads = 2, .key_heads = 1, .head_dim = 64},
    {.name = "full",
     .batch = 1,
     .query_tokens = 130,
     .key_tokens = 390,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 128,
     .causal = false},
    {.name = "documents",
     .batch = 2,
     .query_tokens = 270,
     .key_tokens = 270,
     .heads = 1,
     .key_heads = 1,
     .head_dim = 64,
     .documents = true},
    {.name = "window",
     .batch = 1,
     .query_tokens = 330,
     .key_tokens = 330,
     .heads = 2,
     .key_heads = 2,
     .head_dim = 40,
     .causal = false,
     .window = 70},
};

class CudaHopperBits : public CudaHopperAttention {};
INSTANTIATE_TEST_SUITE_P(, CudaHopperBits,
                         ::testing::Combine(::testing::ValuesIn(kTurnExamples), ::testing::ValuesIn(kHopperKernels)),
                         name_of_hopper_example);

TEST_P(CudaHopperBits, DoNotDependOnTheOrderOfExecution) {
  const auto [options, kernel] = GetParam();
  Example e(options);
  std::vector<Results> all;
  for_seeds([&] { all.push_back(run_kernels(e, e.o.window, kernel)); });
  expect_right(all[0], e);
  for (const Results& r : all) {
    EXPECT_EQ(r.out, all[0].out);
    EXPECT_EQ(r.log_sum_exp, all[0].log_sum_exp);
    EXPECT_EQ(r.dq, all[0].dq);
    EXPECT_EQ(r.dk, all[0].dk);
    EXPECT_EQ(r.dv, all[0].dv);
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

// Nothing but the queries is copied for a block of 128 of them (heads of 128: 64) that all see nothing.
TEST(CudaAttentionRanges, ABlockOfQueriesThatSeeNothingGivesZeros) {
  for (const AttentionKernel kernel : {AttentionKernel::kMma, AttentionKernel::kWgmma, AttentionKernel::kPingPong}) {
    if (kernel != AttentionKernel::kMma && !cuda::has_wgmma()) continue;
    for (const int64_t head_dim : {64, 128}) {
      SCOPED_TRACE("kernel " + std::to_string(static_cast<int>(kernel)) + ", heads of " + std::to_string(head_dim));
      Example e({.name = "",
                 .batch = 1,
                 .query_tokens = 150,
                 .key_tokens = 150,
                 .heads = 1,
                 .key_heads = 1,
                 .head_dim = head_dim,
                 .documents = true,
                 .blind_queries = 128});
      const auto zeros = static_cast<size_t>(e.o.blind_queries * head_dim);
      for_seeds([&] {
        const Results r = run_kernels(e, 0, kernel);
        for (size_t i = 0; i < static_cast<size_t>(e.o.blind_queries); ++i) {
          EXPECT_EQ(r.log_sum_exp[i], std::numeric_limits<double>::infinity()) << i;
        }
        for (size_t i = 0; i < zeros; ++i) {
          ASSERT_EQ(r.out[i], 0.0) << i;
          ASSERT_EQ(r.dq[i], 0.0) << i;
        }
        expect_right(r, e);
      });
    }
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

TEST(CudaAttentionPlan, KnowsTheScratchOfEveryKernel) {
  Example e(kHopperExamples[1]);
  const DeviceAttentionShape sizes{.batch = 2, .query_tokens = 300, .key_tokens = 420, .heads = 1, .head_dim = 128};
  ThreadPool pool(1);
  std::vector<size_t> scratch;
  for (const auto kernel : {AttentionKernel::kMma, AttentionKernel::kWgmma, AttentionKernel::kPingPong}) {
    const std::unique_ptr<DeviceOperators> operators = cuda::make_planning_operators(kernel);
    PlanningMemory memory;
    const Context context(Device{.meta = true, .operators = operators.get()}, pool, memory);
    const Tensor x = context.empty({e.o.batch, e.o.query_tokens, e.o.heads * e.o.head_dim}, kType);
    const Tensor sums = context.empty({e.o.batch, e.o.heads, e.o.query_tokens}, DType::kF32);
    const HeadsView view{x.raw()};
    attention_backward(context, e.shape, view, view, view, {}, x, sums, x, view, view, view);
    scratch.push_back(memory.lifetimes().back().bytes);
    EXPECT_EQ(scratch.back(), cuda::attention_scratch_bytes(sizes, false, kernel));
  }
  EXPECT_EQ(scratch[0], scratch[1]);
  EXPECT_GT(scratch[2], scratch[1] + 2 * 300 * 128 * sizeof(float));
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
