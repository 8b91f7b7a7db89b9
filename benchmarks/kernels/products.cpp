// Matrix products as a step of GPT-2 124M, and of a Llama with 1 billion parameters, asks for them.
#include "benchmarks/kernels/cases.h"
#include "ops/cuda/gemm.h"

namespace tsugi::benchmarks {
namespace {

struct Sizes {
  const char* what;
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false, bias = false, gelu = false, gelu_backward = false;
};

void make(Maker& maker, const Sizes& s) {
  const DType out_type = s.accumulate ? DType::kF32 : DType::kBF16;
  cuda::Gemm product{.m = s.m,
                     .n = s.n,
                     .k = s.k,
                     .out_type = out_type,
                     .transpose_a = s.transpose_a,
                     .transpose_b = s.transpose_b,
                     .accumulate = s.accumulate,
                     .a = maker.random(s.m * s.k, DType::kBF16),
                     .b = maker.random(s.k * s.n, DType::kBF16)};
  if (s.bias) product.bias = maker.random(s.n, out_type);
  if (s.gelu) product.pre_activation = maker.empty(s.m * s.n, DType::kBF16);
  if (s.gelu_backward) product.gelu_backward = maker.random(s.m * s.n, DType::kBF16);
  void* const out = maker.zeros(s.m * s.n, out_type);
  product.out = out;
  maker.work.run = [=](cuda::Stream& stream) { cuda::gemm(stream, product); };
  const auto bytes = static_cast<size_t>(s.m * s.n) * size_of(out_type);
  if (s.accumulate) maker.work.reset = [=](cuda::Stream& stream) { stream.fill(out, 0, bytes); };
  maker.result(out, s.m * s.n, out_type);
}

}  // namespace

void add_product_cases(bool tiny, std::vector<Case>& cases) {
  std::vector<Sizes> all;
  const auto layer = [&](int64_t rows, int64_t width) {
    all.push_back({.what = "qkv", .m = rows, .n = 3 * width, .k = width, .bias = true});
    all.push_back({.what = "attention out", .m = rows, .n = width, .k = width, .bias = true});
    all.push_back({.what = "up + GELU", .m = rows, .n = 4 * width, .k = width, .bias = true, .gelu = true});
    all.push_back({.what = "down", .m = rows, .n = width, .k = 4 * width, .bias = true});
    all.push_back({.what = "d_input of down, GELU backward",
                   .m = rows,
                   .n = 4 * width,
                   .k = width,
                   .transpose_b = true,
                   .gelu_backward = true});
    all.push_back({.what = "d_input of up", .m = rows, .n = width, .k = 4 * width, .transpose_b = true});
    all.push_back(
        {.what = "d_weight of up", .m = width, .n = 4 * width, .k = rows, .transpose_a = true, .accumulate = true});
    all.push_back(
        {.what = "d_weight of qkv", .m = width, .n = 3 * width, .k = rows, .transpose_a = true, .accumulate = true});
  };
  const auto classifier = [&](int64_t rows, int64_t width, int64_t vocabulary) {
    all.push_back({.what = "logits", .m = rows, .n = vocabulary, .k = width, .transpose_b = true});
    all.push_back({.what = "d_hidden", .m = rows, .n = width, .k = vocabulary});
    all.push_back({.what = "d_table", .m = vocabulary, .n = width, .k = rows, .transpose_a = true, .accumulate = true});
  };
  if (tiny) {
    layer(16, 8);
    classifier(8, 8, 24);
  } else {
    all.push_back({.what = "square", .m = 8192, .n = 8192, .k = 8192});
    layer(65536, 768);
    classifier(2048, 768, 50304);
    layer(16384, 2048);
  }
  for (const Sizes& s : all) {
    const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k);
    const double out_bytes = s.accumulate ? 8.0 : s.gelu || s.gelu_backward ? 4.0 : 2.0;
    cases.push_back({std::string("product: ") + s.what,
                     {{"m", s.m},
                      {"n", s.n},
                      {"k", s.k},
                      {"transpose_a", s.transpose_a},
                      {"transpose_b", s.transpose_b},
                      {"accumulate", s.accumulate},
                      {"bias", s.bias},
                      {"gelu", s.gelu},
                      {"gelu_backward", s.gelu_backward}},
                     2.0 * m * n * k,
                     2.0 * (m * k + k * n) + out_bytes * m * n,
                     true,
                     [=](Maker& maker) { make(maker, s); }});
  }
}

}  // namespace tsugi::benchmarks
