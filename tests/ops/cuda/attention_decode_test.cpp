// Attention of a few new tokens to keys in a cache, against the double reference.
#include <gtest/gtest.h>

#include "ops/attention/attention_cuda.h"
#include "tests/ops/cuda/attention_example.h"
#include "tests/ops/cuda/context.h"

namespace tsugi::testing {
namespace {

using Options = Example::Options;

class CudaDecoding : public OnCuda, public ::testing::WithParamInterface<Options> {
 protected:
  /// Keys and values lie in the first places of caches that hold NaN behind them.
  std::vector<double> run(Example& e) const {
    const Context& context = cuda().context;
    AttentionShape shape = e.shape;
    const int64_t query_row = e.o.heads * e.o.head_dim;
    const int64_t key_row = e.o.key_heads * e.o.head_dim;
    const int64_t capacity = e.o.key_tokens + 3;
    const Tensor q = cuda().upload(e.q, {e.o.batch, e.o.query_tokens, query_row}, e.o.type);
    const auto cached = [&](std::vector<double>& values) {
      std::vector<double> all(static_cast<size_t>(e.o.batch * capacity * key_row),
                              std::numeric_limits<double>::quiet_NaN());
      values = rounded(values, e.o.type);
      for (int64_t b = 0; b < e.o.batch; ++b) {
        std::copy_n(values.begin() + b * e.o.key_tokens * key_row, e.o.key_tokens * key_row,
                    all.begin() + b * capacity * key_row);
      }
      return cuda().upload(all, {e.o.batch, capacity, key_row}, e.o.type);
    };
    const Tensor k = cached(e.k), v = cached(e.v);
    if (e.o.documents) {
      shape.first_key = on_device(context, e.shape.first_key);
      shape.end_key = on_device(context, e.shape.end_key);
    }
    if (e.o.bias) shape.relative_bias = on_device(context, e.shape.relative_bias);
    const Tensor out = context.empty({e.o.batch, e.o.query_tokens, query_row}, e.o.type);
    const HeadsView queries{q.raw(), e.o.query_tokens * query_row, query_row, e.o.head_dim};
    const auto keys = [&](const Tensor& x) -> HeadsView {
      return {x.raw(), capacity * key_row, key_row, e.o.head_dim};
    };
    attention_forward(context, shape, queries, keys(k), keys(v), {}, out, {});
    return cuda().read(out);
  }
};

Options cache(const char* name, DType type, int64_t queries, int64_t keys, int64_t head_dim) {
  return {.name = name,
          .batch = 2,
          .query_tokens = queries,
          .key_tokens = keys,
          .heads = 2,
          .key_heads = 2,
          .head_dim = head_dim,
          .type = type};
}
Options with(Options options, auto&& change) {
  change(options);
  return options;
}

std::vector<Options> decoding_examples() {
  constexpr DType f32 = DType::kF32, bf16 = DType::kBF16;
  std::vector<Options> all{cache("one_key", f32, 1, 1, 1),        cache("one", f32, 1, 70, 64),
                           cache("chunks", f32, 1, 600, 16),      cache("a_whole_chunk", bf16, 1, 256, 64),
                           cache("odd_heads", f32, 3, 300, 77),   cache("odd_heads_bf16", bf16, 1, 300, 63),
                           cache("chunks_bf16", bf16, 2, 520, 8), cache("queries", bf16, 8, 40, 16)};
  const auto single = [](Options& o) { o.batch = 1; };
  all.push_back(with(cache("widest", f32, 1, 290, 256), single));
  all.push_back(with(cache("widest_bf16", bf16, 2, 40, 248), single));
  all.push_back(with(cache("widest_odd", f32, 1, 40, 255), single));
  all.push_back(with(cache("grouped", bf16, 1, 270, 32), [](Options& o) {
    o.heads = 20;  // more than a block has rows
  }));
  all.push_back(with(cache("window", f32, 2, 540, 16), [](Options& o) { o.window = 30; }));
  all.push_back(with(cache("bounds", f32, 5, 330, 16), [](Options& o) { o.documents = true; }));
  all.push_back(with(cache("cross", bf16, 4, 261, 16), [](Options& o) { o.causal = false; }));
  all.push_back(with(cache("bias", f32, 3, 260, 12), [](Options& o) { o.bias = true; }));
  return all;
}

INSTANTIATE_TEST_SUITE_P(, CudaDecoding, ::testing::ValuesIn(decoding_examples()),
                         [](const auto& example) { return example.param.name; });

TEST_P(CudaDecoding, EqualsTheReferenceWithTheSameBitsInEveryOrder) {
  Example e(GetParam());
  const std::vector<double> actual = run(e);
  expect_within_twice(actual, plain_results(e).out, exact_results(e).out, e.o.type);
  for_seeds([&] { EXPECT_EQ(run(e), actual); });
}

class CudaDecodingOfOne : public CudaDecoding {};
INSTANTIATE_TEST_SUITE_P(, CudaDecodingOfOne,
                         ::testing::Values(cache("chunks", DType::kF32, 1, 600, 16),
                                           cache("odd_heads", DType::kBF16, 1, 300, 63)),
                         [](const auto& example) { return example.param.name; });

TEST_P(CudaDecodingOfOne, ATextAmongOthersHasTheBitsOfOneAlone) {
  Example e(GetParam());
  Example first(with(GetParam(), [](Options& o) { o.batch = 1; }));
  first.k.assign(e.k.begin(), e.k.begin() + first.key_elements());
  first.v.assign(e.v.begin(), e.v.begin() + first.key_elements());
  first.q.assign(e.q.begin(), e.q.begin() + first.query_elements());
  std::vector<double> all = run(e);
  all.resize(static_cast<size_t>(first.query_elements()));
  EXPECT_EQ(run(first), all);
}

}  // namespace
}  // namespace tsugi::testing
