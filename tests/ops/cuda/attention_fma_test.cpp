// Attention by plain multiply-adds against the double reference: f32, and heads of any size.
#include <gmock/gmock.h>

#include "ops/attention/attention_cuda.h"
#include "ops/base/error.h"
#include "tests/ops/cuda/attention_example.h"
#include "tests/ops/cuda/context.h"

namespace tsugi::testing {
namespace {

using Options = Example::Options;

/// By the operators, which choose the kernel.
class CudaFmaAttention : public OnCuda, public ::testing::WithParamInterface<Options> {
 protected:
  Results run(Example& e) const {
    const Context& context = cuda().context;
    AttentionShape shape = e.shape;
    const Shape of_queries{e.o.batch, e.o.query_tokens, e.o.heads * e.o.head_dim};
    const Shape of_keys{e.o.batch, e.o.key_tokens, e.o.key_heads * e.o.head_dim};
    const Tensor q = cuda().upload(e.q, of_queries, e.o.type), k = cuda().upload(e.k, of_keys, e.o.type);
    const Tensor v = cuda().upload(e.v, of_keys, e.o.type), d_out = cuda().upload(e.d_out, of_queries, e.o.type);
    if (e.o.documents) {
      shape.first_key = on_device(context, e.shape.first_key);
      shape.end_key = on_device(context, e.shape.end_key);
    }
    Tensor d_bias;
    if (e.o.bias) {
      shape.relative_bias = on_device(context, e.shape.relative_bias);
      d_bias = context.empty(e.shape.relative_bias.shape(), DType::kF32);
    }
    const auto heads = [&](const Tensor& x, int64_t tokens, int64_t count) -> HeadsView {
      return {x.raw(), tokens * count * e.o.head_dim, count * e.o.head_dim, e.o.head_dim};
    };
    const auto queries = [&](const Tensor& x) { return heads(x, e.o.query_tokens, e.o.heads); };
    const auto keys = [&](const Tensor& x) { return heads(x, e.o.key_tokens, e.o.key_heads); };
    const Tensor out = context.empty(of_queries, e.o.type), dq = context.empty(of_queries, e.o.type);
    const Tensor dk = context.empty(of_keys, e.o.type), dv = context.empty(of_keys, e.o.type);
    const Tensor log_sum_exp = context.empty({e.o.batch, e.o.heads, e.o.query_tokens}, DType::kF32);
    attention_forward(context, shape, queries(q), keys(k), keys(v), e.o.dropout, out, log_sum_exp);
    attention_backward(context, shape, queries(q), keys(k), keys(v), e.o.dropout, out, log_sum_exp, d_out, queries(dq),
                       keys(dk), keys(dv), d_bias);
    Results r{cuda().read(out), cuda().read(dq), cuda().read(dk), cuda().read(dv), cuda().read(log_sum_exp)};
    if (e.o.bias) r.d_bias = cuda().read(d_bias);
    return r;
  }
};

const Dropout kSomeDropout{.p = 0.2f, .seed = 9, .first_sample = 3, .site = 2};

Options single(const char* name, int64_t queries, int64_t keys, int64_t head_dim) {
  return {.name = name,
          .batch = 1,
          .query_tokens = queries,
          .key_tokens = keys,
          .heads = 2,
          .key_heads = 2,
          .head_dim = head_dim,
          .type = DType::kF32};
}
Options with(Options options, auto&& change) {
  change(options);
  return options;
}

std::vector<Options> fma_examples() {
  std::vector<Options> all{single("one", 1, 1, 1), single("causal", 70, 70, 64), single("cached", 33, 97, 20),
                           single("odd", 35, 41, 77)};
  const auto one_head = [](Options& o) { o.heads = o.key_heads = 1; };
  all.push_back(with(single("wide", 67, 67, 128), one_head));
  all.push_back(with(single("widest", 40, 40, 256), one_head));
  all.push_back(with(single("long", 201, 201, 7), one_head));
  all.push_back(with(single("grouped", 67, 67, 12), [](Options& o) {
    o.heads = 4;
    o.batch = 2;
  }));
  all.push_back(with(single("window", 150, 150, 16), [](Options& o) { o.window = 40; }));
  all.push_back(with(single("cross", 65, 40, 16), [](Options& o) { o.causal = false; }));
  all.push_back(with(single("both_sides", 140, 140, 16), [](Options& o) {
    o.causal = false;
    o.window = 30;
  }));
  all.push_back(with(single("documents", 150, 150, 16), [](Options& o) {
    o.batch = 2;
    o.documents = true;
  }));
  all.push_back(with(single("dropout", 67, 67, 16), [](Options& o) {
    o.batch = 2;
    o.key_heads = 1;
    o.dropout = kSomeDropout;
  }));
  // Rows of whole blocks of random words, which lanes then share.
  const auto dropped = [](Options& o) {
    o.batch = 2;
    o.causal = false;
    o.dropout = kSomeDropout;
  };
  all.push_back(with(single("dropout_by_blocks", 67, 76, 16), dropped));
  all.push_back(with(single("widest_dropout_by_blocks", 35, 40, 132), dropped));
  all.push_back(with(single("bias", 150, 150, 12), [](Options& o) {
    o.batch = 2;
    o.causal = false;
    o.bias = true;
  }));
  all.push_back(with(single("bias_of_a_cross", 67, 130, 16), [](Options& o) {
    o.causal = false;
    o.bias = true;
    o.documents = true;
    o.dropout = kSomeDropout;
  }));
  all.push_back(with(single("widest_bias", 40, 40, 130), [](Options& o) {
    o.heads = o.key_heads = 1;
    o.bias = true;
    o.dropout = kSomeDropout;
  }));
  const auto in_bf16 = [](Options& o) {
    o.heads = o.key_heads = 1;
    o.type = DType::kBF16;
  };
  all.push_back(with(single("bf16_odd", 70, 70, 63), in_bf16));
  all.push_back(with(single("bf16_wider", 40, 40, 160), in_bf16));
  all.push_back(with(single("bf16_between", 40, 40, 100), in_bf16));
  all.push_back(with(single("bf16_grouped", 67, 67, 12), [](Options& o) {
    o.type = DType::kBF16;
    o.key_heads = 1;
    o.documents = true;
    o.dropout = kSomeDropout;
    o.bias = true;
  }));
  return all;
}

INSTANTIATE_TEST_SUITE_P(, CudaFmaAttention, ::testing::ValuesIn(fma_examples()),
                         [](const auto& example) { return example.param.name; });

TEST_P(CudaFmaAttention, EqualsTheReference) {
  Example e(GetParam());
  const Results actual = run(e);
  expect_right(actual, e);
}

class CudaFmaAttentionBits : public CudaFmaAttention {};
INSTANTIATE_TEST_SUITE_P(, CudaFmaAttentionBits,
                         ::testing::Values(with(single("bias_of_a_cross", 67, 70, 16),
                                                [](Options& o) {
                                                  o.causal = false;
                                                  o.bias = true;
                                                  o.documents = true;
                                                  o.dropout = kSomeDropout;
                                                }),
                                           with(single("bf16_wider", 40, 40, 160),
                                                [](Options& o) {
                                                  o.type = DType::kBF16;
                                                  o.key_heads = 1;
                                                })),
                         [](const auto& example) { return example.param.name; });

TEST_P(CudaFmaAttentionBits, DoNotDependOnTheOrderOfExecution) {
  Example e(GetParam());
  const Results first = run(e);
  for_seeds([&] {
    const Results r = run(e);
    EXPECT_EQ(r.out, first.out);
    EXPECT_EQ(r.log_sum_exp, first.log_sum_exp);
    EXPECT_EQ(r.dq, first.dq);
    EXPECT_EQ(r.dk, first.dk);
    EXPECT_EQ(r.dv, first.dv);
    EXPECT_EQ(r.d_bias, first.d_bias);
  });
}

class CudaFmaAttentionOf : public CudaFmaAttention {};
INSTANTIATE_TEST_SUITE_P(, CudaFmaAttentionOf, ::testing::Values(single("heads", 40, 40, 64)));

// The sums of the two kernels are of the same bf16 numbers.
TEST_P(CudaFmaAttentionOf, IsCloseToThatOfTensorCores) {
  Options options = GetParam();
  Example exact(options);
  options.type = DType::kBF16;
  Example rounded(options);
  exact.q = rounded.q = random_values(rounded.query_elements(), 1);
  const Results a = run(rounded);  // rounds
  exact.q = rounded.q;
  exact.k = rounded.k;
  exact.v = rounded.v;
  exact.d_out = rounded.d_out;
  const Results b = run(exact);
  for (size_t i = 0; i < a.log_sum_exp.size(); ++i) EXPECT_NEAR(a.log_sum_exp[i], b.log_sum_exp[i], 1e-5);
  EXPECT_LT(max_difference(a.out, b.out), 0x1p-7 * max_abs(b.out));
}

TEST_P(CudaFmaAttentionOf, NobodySeesGivesZeros) {
  Options options = GetParam();
  options.documents = true;
  Example e(options);
  const Results r = run(e);
  const size_t row = 30 * 2 * 64;
  EXPECT_EQ(r.log_sum_exp[30], std::numeric_limits<double>::infinity());
  for (size_t d = 0; d < 128; ++d) {
    EXPECT_EQ(r.out[row + d], 0.0);
    EXPECT_EQ(r.dq[row + d], 0.0);
  }
}

TEST_P(CudaFmaAttentionOf, ABlockOfQueriesThatSeeNothingGivesZeros) {
  Options options = GetParam();
  options.query_tokens = options.key_tokens = 90;
  options.documents = true;
  options.blind_queries = 64;
  Example e(options);
  for_seeds([&] {
    const Results r = run(e);
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(r.log_sum_exp[i], std::numeric_limits<double>::infinity()) << i;
    for (size_t i = 0; i < 64 * 2 * 64; ++i) {
      ASSERT_EQ(r.out[i], 0.0) << i;
      ASSERT_EQ(r.dq[i], 0.0) << i;
    }
    expect_right(r, e);
  });
}

TEST_P(CudaFmaAttentionOf, SaysWhatItCannotDo) {
  const auto message = [&](const Options& options, const Context& context) -> std::string {
    Example e(options);
    const Tensor out =
        context.empty({options.batch, options.query_tokens, options.heads * options.head_dim}, options.type);
    try {
      attention_forward(context, e.shape, {out.raw()}, {out.raw()}, {out.raw()}, {}, out, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(single("", 40, 40, 257), cuda().context), ::testing::HasSubstr("heads of 257 elements"));
  if (!cuda::has_wgmma()) return;
  const std::unique_ptr<DeviceOperators> operators = cuda::make_operators(0, cuda::AttentionKernel::kWgmma);
  ThreadPool pool(1);
  DeviceMemory memory(*operators);
  const Context context(Device{.operators = operators.get()}, pool, memory);
  EXPECT_THAT(message(single("", 40, 40, 64), context), ::testing::HasSubstr("attention by wgmma in f32"));
}

// Without a device, too, as `tsugi plan` asks.
TEST_P(CudaFmaAttentionOf, RefusesMoreSequencesThanAGridHas) {
  ThreadPool pool(1);
  PlanningMemory memory;
  const Context plan(Device{.meta = true, .operators = device()}, pool, memory);
  const auto attend = [&](DType type, int64_t batch, int64_t queries, bool backward) {
    AttentionShape shape;
    shape.batch = batch;
    shape.query_tokens = shape.key_tokens = queries;
    shape.heads = 1;
    shape.head_dim = 8;
    shape.dtype = type;
    const Tensor out = plan.empty({batch, queries, 8}, type);
    const Tensor sums = plan.empty({batch, 1, queries}, DType::kF32);
    if (backward) {
      attention_backward(plan, shape, {}, {}, {}, {}, out, sums, out, {}, {}, {});
    } else {
      attention_forward(plan, shape, {}, {}, {}, {}, out, {});
    }
  };
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const bool backward : {false, true}) {
      for (const int64_t queries : {1, 9}) {
        attend(type, 65535, queries, backward);
        EXPECT_THAT([&] { attend(type, 65536, queries, backward); },
                    ::testing::ThrowsMessage<Error>(::testing::HasSubstr("attention over 65536 sequences at once")));
      }
    }
  }
}

}  // namespace
}  // namespace tsugi::testing
