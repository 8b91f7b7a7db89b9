// Kernels over rows of activations, bound by memory: norms, activations, rotary positions, sums of columns.
#include <cmath>

#include "benchmarks/kernels/cases.h"
#include "ops/activation/activation_cuda.h"
#include "ops/norm/norm_cuda.h"
#include "ops/reduce/reduce_cuda.h"
#include "ops/rotary/rotary_cuda.h"

namespace tsugi::benchmarks {
namespace {

constexpr DType kType = DType::kBF16;

/// residual = x + branch and its norm; `layer`: LayerNorm, else RMSNorm.
void norm_forward(Maker& maker, cuda::NormShape shape, bool layer) {
  const int64_t rows = shape.rows(), count = rows * shape.width;
  const void* const x = maker.random(count, kType);
  const void* const branch = maker.random(count, kType);
  const void* const gamma = maker.random(shape.width, kType);
  const void* const beta = layer ? maker.random(shape.width, kType) : nullptr;
  void* const residual = maker.empty(count, kType);
  void* const normed = maker.empty(count, kType);
  auto* const mean = layer ? static_cast<float*>(maker.empty(rows, DType::kF32)) : nullptr;
  auto* const rstd = static_cast<float*>(maker.empty(rows, DType::kF32));
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::residual_norm_forward(stream, shape, x, branch, {}, gamma, beta, 1e-5f, residual, normed, mean, rstd);
  };
  maker.result(residual, count, kType);
  maker.result(normed, count, kType);
}

void norm_backward(Maker& maker, cuda::NormShape shape, bool layer) {
  const int64_t rows = shape.rows(), count = rows * shape.width;
  const void* const residual = maker.random(count, kType);
  const void* const gamma = maker.random(shape.width, kType);
  const auto* const mean = layer ? static_cast<float*>(maker.zeros(rows, DType::kF32)) : nullptr;
  const auto* const rstd = maker.upload(std::vector<float>(static_cast<size_t>(rows), 1.0f));
  const void* const d_normed = maker.random(count, kType);
  void* const d_residual = maker.random(count, kType);
  const auto scratch_floats = static_cast<int64_t>(cuda::norm_scratch_bytes(shape) / sizeof(float));
  auto* const scratch = static_cast<float*>(maker.empty(scratch_floats, DType::kF32));
  auto* const d_gamma = static_cast<float*>(maker.zeros(shape.width, DType::kF32));
  auto* const d_beta = layer ? static_cast<float*>(maker.zeros(shape.width, DType::kF32)) : nullptr;
  maker.work.reset = [=](cuda::Stream& stream) {
    const size_t bytes = static_cast<size_t>(shape.width) * sizeof(float);
    stream.fill(d_gamma, 0, bytes);
    if (d_beta != nullptr) stream.fill(d_beta, 0, bytes);
    stream.fill(d_residual, 0, static_cast<size_t>(count) * size_of(kType));
  };
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::residual_norm_backward(stream, shape, residual, gamma, mean, rstd, d_normed, {}, true, d_residual, nullptr,
                                 scratch, d_gamma, d_beta);
  };
  maker.result(d_residual, count, kType);
  maker.result(d_gamma, shape.width, DType::kF32);
}

void add_norms(int64_t rows, int64_t width, std::vector<Case>& cases) {
  const cuda::NormShape shape{.type = kType, .batch = 1, .tokens = rows, .width = width};
  const double count = static_cast<double>(rows) * static_cast<double>(width);
  for (const bool layer : {true, false}) {
    const std::string name = layer ? "layer_norm" : "rms_norm";
    cases.push_back(
        {name + "_forward", {{"rows", rows}, {"width", width}}, 0.0, 4.0 * 2.0 * count, false, [=](Maker& maker) {
           norm_forward(maker, shape, layer);
         }});
    cases.push_back(
        {name + "_backward", {{"rows", rows}, {"width", width}}, 0.0, 4.0 * 2.0 * count, false, [=](Maker& maker) {
           norm_backward(maker, shape, layer);
         }});
  }
}

void add_activations(int64_t rows, int64_t width, std::vector<Case>& cases) {
  const int64_t count = rows * width;
  const auto elements = static_cast<double>(count);
  const Shape shape{{"rows", rows}, {"width", width}};
  cases.push_back({"gelu_forward", shape, 0.0, 4.0 * elements, false, [=](Maker& maker) {
                     const void* const x = maker.random(count, kType);
                     void* const out = maker.empty(count, kType);
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::activation_forward(stream, Activation::kGelu, kType, x, out, count);
                     };
                     maker.result(out, count, kType);
                   }});
  cases.push_back({"gelu_backward", shape, 0.0, 6.0 * elements, false, [=](Maker& maker) {
                     const void* const x = maker.random(count, kType);
                     const void* const d_out = maker.random(count, kType);
                     void* const d_x = maker.empty(count, kType);
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::activation_backward(stream, Activation::kGelu, kType, x, d_out, d_x, count);
                     };
                     maker.result(d_x, count, kType);
                   }});
  cases.push_back({"swiglu_forward", shape, 0.0, 6.0 * elements, false, [=](Maker& maker) {
                     const void* const gate_up = maker.random(2 * count, kType);
                     void* const out = maker.empty(count, kType);
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::gated_activation_forward(stream, Activation::kSilu, kType, gate_up, out, rows, width);
                     };
                     maker.result(out, count, kType);
                   }});
  cases.push_back({"swiglu_backward", shape, 0.0, 10.0 * elements, false, [=](Maker& maker) {
                     const void* const gate_up = maker.random(2 * count, kType);
                     const void* const d_out = maker.random(count, kType);
                     void* const d_gate_up = maker.empty(2 * count, kType);
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::gated_activation_backward(stream, Activation::kSilu, kType, gate_up, d_out, d_gate_up,
                                                       rows, width);
                     };
                     maker.result(d_gate_up, 2 * count, kType);
                   }});
}

/// Rows of queries, keys and values, of which queries and keys turn, behind their norms or not.
void rotary(Maker& maker, int64_t rows, int64_t tokens, int heads, int key_heads, int head_dim, bool norm,
            bool backward) {
  cuda::RotaryShape shape{.type = kType,
                          .rows = rows,
                          .tokens = tokens,
                          .query_heads = heads,
                          .key_heads = key_heads,
                          .head_dim = head_dim,
                          .rotated = head_dim};
  std::vector<float> table;
  for (int64_t position = 0; position < tokens; ++position) {
    for (const bool sine : {false, true}) {
      for (int i = 0; i < head_dim / 2; ++i) {
        const double angle = static_cast<double>(position) * std::pow(1e4, -2.0 * i / head_dim);
        table.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
      }
    }
  }
  shape.table = maker.upload(table);
  const int64_t from_stride = int64_t{heads + 2 * key_heads} * head_dim, to_stride = int64_t{shape.heads()} * head_dim;
  void* const packed = maker.random(rows * from_stride, kType);
  float *rstd = nullptr, *scratch = nullptr, *d_gamma = nullptr;
  if (norm) {
    shape.query_gamma = maker.random(head_dim, kType);
    shape.key_gamma = maker.random(head_dim, kType);
    rstd = static_cast<float*>(maker.random(rows * shape.heads(), DType::kF32));
    scratch = static_cast<float*>(
        maker.empty(static_cast<int64_t>(cuda::rotary_scratch_bytes(shape) / sizeof(float)), DType::kF32));
    d_gamma = static_cast<float*>(maker.zeros(2 * head_dim, DType::kF32));
  }
  if (backward) {
    const void* const from = norm ? maker.random(rows * from_stride, kType) : nullptr;
    maker.work.reset = [=](cuda::Stream& stream) {
      stream.fill(packed, 1, static_cast<size_t>(rows * from_stride) * size_of(kType));
      if (norm) stream.fill(d_gamma, 0, static_cast<size_t>(2 * head_dim) * sizeof(float));
    };
    maker.work.run = [=](cuda::Stream& stream) {
      cuda::rotary_backward(stream, shape, from, from_stride, rstd, packed, from_stride, scratch, d_gamma,
                            d_gamma + (norm ? head_dim : 0));
    };
    if (norm) maker.result(d_gamma, 2 * head_dim, DType::kF32);
    maker.result(packed, rows * from_stride, kType);
    return;
  }
  void* const out = maker.empty(rows * to_stride, kType);
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::rotary_forward(stream, shape, packed, from_stride, out, to_stride, rstd);
  };
  maker.result(out, rows * to_stride, kType);
}

}  // namespace

void add_row_cases(bool tiny, std::vector<Case>& cases) {
  if (tiny) {
    add_norms(7, 64, cases);
    add_activations(5, 24, cases);
  } else {
    for (const int64_t width : {768, 1600, 2048, 4096}) add_norms((int64_t{1} << 26) / width, width, cases);
    add_activations(16384, 8192, cases);
  }
  const int64_t rows = tiny ? 6 : 32768, tokens = tiny ? 3 : 2048;
  const int heads = tiny ? 2 : 32, key_heads = tiny ? 1 : 8;
  for (const bool norm : {false, true}) {
    const int head_dim = tiny ? 16 : norm ? 128 : 64;
    const double turned = static_cast<double>(rows) * (heads + key_heads) * head_dim;
    const Shape shape{
        {"rows", rows}, {"tokens", tokens}, {"heads", heads}, {"key_heads", key_heads}, {"head_dim", head_dim}};
    for (const bool backward : {false, true}) {
      cases.push_back({std::string(norm ? "norm_of_heads_" : "rotary_") + (backward ? "backward" : "forward"), shape,
                       0.0, (norm && backward ? 6.0 : 4.0) * turned, false,
                       [=](Maker& maker) { rotary(maker, rows, tokens, heads, key_heads, head_dim, norm, backward); }});
    }
  }
  const int64_t columns = tiny ? 40 : 3072, summed = tiny ? 33 : 65536;
  cases.push_back({"column_sum",
                   {{"rows", summed}, {"width", columns}},
                   0.0,
                   2.0 * static_cast<double>(summed) * static_cast<double>(columns),
                   false,
                   [=](Maker& maker) {
                     const void* const x = maker.random(summed * columns, kType);
                     const size_t scratch_bytes = cuda::column_sum_scratch_bytes(summed, columns);
                     auto* const scratch = static_cast<float*>(
                         maker.empty(static_cast<int64_t>(scratch_bytes / sizeof(float)), DType::kF32));
                     auto* const out = static_cast<float*>(maker.zeros(columns, DType::kF32));
                     maker.work.reset = [=](cuda::Stream& stream) {
                       stream.fill(out, 0, static_cast<size_t>(columns) * sizeof(float));
                     };
                     maker.work.run = [=](cuda::Stream& stream) {
                       cuda::column_sum(stream, kType, x, summed, columns, scratch, out);
                     };
                     maker.result(out, columns, DType::kF32);
                   }});
}

}  // namespace tsugi::benchmarks
