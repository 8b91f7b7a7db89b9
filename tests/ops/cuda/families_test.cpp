// What Llama, Qwen and their kin need, through the operators' fronts, against the double reference, on the emulator and
// on a device (device_tests):
// RMSNorm, rotary positions with norms of heads, activations and gated activations, the cross-entropy's further terms.
#include <array>
#include <cmath>

#include "ops/activation/activation.h"
#include "ops/columns/columns.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cuda/operators.h"
#include "ops/gather_rows/gather_rows.h"
#include "ops/norm/norm.h"
#include "ops/rotary/rotary.h"
#include "ops/tensor/copy.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"

namespace tsugi::testing {
namespace {

const DType kTypes[] = {DType::kF32, DType::kBF16};

class CudaFamilies : public OnCuda {};

constexpr Activation kActivations[] = {Activation::kGelu, Activation::kGeluErf, Activation::kSilu, Activation::kRelu,
                                       Activation::kReluSquared};

TEST_F(CudaFamilies, Activations) {
  for (const DType type : kTypes) {
    for (const Activation activation : kActivations) {
      SCOPED_TRACE(std::to_string(static_cast<int>(activation)) + name_of(type));
      constexpr int64_t kCount = 1037;
      std::vector<double> x = random_values(kCount, 1, 3.0), d = random_values(kCount, 2);
      x[0] = -300.0;  // exponentials overflow: no NaN
      x[1] = 300.0;
      const Tensor dx = cuda().upload(x, {kCount}, type), dd = cuda().upload(d, {kCount}, type);
      const Tensor out = cuda().context.empty({kCount}, type);
      activation_forward(cuda().context, activation, dx, out);
      activation_backward(cuda().context, activation, dx, dd, dd);
      std::vector<double> exact, exact_d;
      for (size_t i = 0; i < x.size(); ++i) {
        exact.push_back(reference::activation(activation, x[i]));
        exact_d.push_back(d[i] * reference::activation_derivative(activation, x[i]));
      }
      x.resize(2);  // the two large ones would set the bound
      for (auto* values : {&exact, &exact_d}) values->erase(values->begin(), values->begin() + 2);
      std::vector<double> actual = cuda().read(out), actual_d = cuda().read(dd);
      for (auto* values : {&actual, &actual_d}) {
        EXPECT_TRUE(std::isfinite((*values)[0]) && std::isfinite((*values)[1]));
        values->erase(values->begin(), values->begin() + 2);
      }
      expect_within_twice(actual, rounded(exact, type), exact, type);
      expect_within_twice(actual_d, rounded(exact_d, type), exact_d, type);
    }
  }
}

TEST_F(CudaFamilies, GatedActivations) {
  for (const DType type : kTypes) {
    for (const Activation activation : kActivations) {
      for (const int64_t width : {1, 13, 24, 264}) {
        SCOPED_TRACE(std::to_string(static_cast<int>(activation)) + name_of(type) + std::to_string(width));
        constexpr int64_t kRows = 5;
        std::vector<double> packed = random_values(kRows * 2 * width, 1, 2.0), d = random_values(kRows * width, 2);
        const Tensor gate_up = cuda().upload(packed, {kRows, 2 * width}, type);
        const Tensor d_out = cuda().upload(d, {kRows, width}, type);
        const Tensor out = cuda().context.empty({kRows, width}, type);
        gated_activation_forward(cuda().context, activation, gate_up, out);
        gated_activation_backward(cuda().context, activation, gate_up, d_out, gate_up);
        std::vector<double> exact, exact_d(packed.size());
        for (size_t i = 0; i < d.size(); ++i) {
          const size_t at = i + i / static_cast<size_t>(width) * static_cast<size_t>(width);
          const double gate = packed[at], up = packed[at + static_cast<size_t>(width)];
          exact.push_back(reference::activation(activation, gate) * up);
          exact_d[at] = d[i] * up * reference::activation_derivative(activation, gate);
          exact_d[at + static_cast<size_t>(width)] = d[i] * reference::activation(activation, gate);
        }
        expect_within_twice(cuda().read(out), rounded(exact, type), exact, type);
        expect_within_twice(cuda().read(gate_up), rounded(exact_d, type), exact_d, type);
      }
    }
  }
}

TEST_F(CudaFamilies, RmsNorm) {
  const Dropout dropout{.p = 0.25f, .seed = 7, .first_sample = 5, .site = 3};
  struct Sizes {
    int64_t batch, tokens, width;
  };
  // A row in a warp, in four warps, element by element; more rows than groups of the backward pass.
  for (const Sizes& s : {Sizes{2, 3, 64}, Sizes{1, 2, 1600}, Sizes{3, 3, 37}, Sizes{3, 401, 8}}) {
    for (const DType type : kTypes) {
      for (const Dropout& active : {Dropout{}, dropout}) {
        SCOPED_TRACE(std::to_string(s.width) + name_of(type));
        const int64_t rows = s.batch * s.tokens;
        const Shape shape{s.batch, s.tokens, s.width};
        std::vector<double> x = random_values(rows * s.width, 1, 3.0), branch = random_values(rows * s.width, 2);
        std::vector<double> gamma = random_values(s.width, 3), d = random_values(rows * s.width, 4);
        std::vector<double> later = random_values(rows * s.width, 5), d_gamma = random_values(s.width, 6);
        const Tensor dx = cuda().upload(x, shape, type), dbranch = cuda().upload(branch, shape, type);
        const Tensor dgamma = cuda().upload(gamma, {s.width}, type), dd = cuda().upload(d, shape, type);
        const Tensor dlater = cuda().upload(later, shape, type),
                     dd_gamma = cuda().upload(d_gamma, {s.width}, DType::kF32);
        const Tensor residual = cuda().context.empty(shape, type), normed = cuda().context.empty(shape, type);
        const Tensor rstd = cuda().context.empty({rows}, DType::kF32);
        const Tensor d_branch = active.active() ? cuda().context.empty(shape, type) : Tensor();
        residual_rms_norm_forward(cuda().context, dx, dbranch, active, dgamma, 1e-6f, residual, normed, rstd);
        residual_rms_norm_backward(cuda().context, residual, dgamma, rstd, dd, active, true, dlater, d_branch,
                                   dd_gamma);

        const std::vector<double> stored = cuda().read(residual);
        std::vector<double> exact(x.size()), d_x(x.size());
        reference::rms_norm_forward(rows, s.width, stored, gamma, 1e-6, exact);
        expect_within_twice(cuda().read(normed), rounded(exact, type), exact, type);
        reference::rms_norm_backward(rows, s.width, stored, gamma, 1e-6, d, d_x, d_gamma);
        for (size_t i = 0; i < d_x.size(); ++i) d_x[i] += later[i];
        expect_within_twice(cuda().read(dlater), rounded(d_x, type), d_x, type);
        EXPECT_LE(max_difference(cuda().read(dd_gamma), d_gamma), 2e-5 * max_abs(d_gamma));
        if (!active.active()) continue;
        const std::vector<double> factors = factors_of(active, s.batch, s.tokens * s.width);
        for (size_t i = 0; i < d_x.size(); ++i) d_x[i] *= factors[i];
        expect_within_twice(cuda().read(d_branch), rounded(d_x, type), d_x, type);
      }
    }
  }
}

struct RotarySizes {
  int64_t batch, tokens, query_heads, key_heads, head_dim, dim;
};
constexpr double kTheta = 500.0;
constexpr int64_t kTablePositions = 90;

/// Rotation with scaled frequencies, at given positions or not, with norms or not.
void check_rotary(const CudaContext& cuda, const RotarySizes& s, DType type, bool norm, bool given) {
  const RotaryScaling scaling{.kind = RotaryScaling::Kind::kLlama3, .factor = 8.0, .original_context = 32};
  const int64_t row = (s.query_heads + 2 * s.key_heads) * s.head_dim;
  const Shape shape{s.batch, s.tokens, row};
  std::vector<double> x = random_values(s.batch * s.tokens * row, 1, 2.0);
  std::vector<double> d = random_values(s.batch * s.tokens * row, 2);
  std::vector<double> gammas[2], d_gammas[2];
  Rotary rotary;
  rotary.query_heads = s.query_heads;
  rotary.key_heads = s.key_heads;
  rotary.head_dim = s.head_dim;
  rotary.first_position = 5;
  std::vector<double> frequencies;
  if (s.dim > 0) {
    rotary.table = rotary_table(cuda.context, kTablePositions, s.dim, kTheta, scaling);
    frequencies = rotary_frequencies(s.dim, kTheta, scaling);
  }
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < s.batch * s.tokens; ++i) {
    positions.push_back(static_cast<int32_t>(given ? i * 37 % kTablePositions : 5 + i % s.tokens));
  }
  if (given) rotary.positions = cuda.integers(positions, {s.batch, s.tokens});
  Tensor rstd, d_gamma[2];
  if (norm) {
    for (size_t i = 0; i < 2; ++i) {
      gammas[i] = random_values(s.head_dim, 3 + i);
      d_gammas[i] = random_values(s.head_dim, 5 + i);
      (i == 0 ? rotary.query_gamma : rotary.key_gamma) = cuda.upload(gammas[i], {s.head_dim}, type);
      d_gamma[i] = cuda.upload(d_gammas[i], {s.head_dim}, DType::kF32);
    }
    rstd = cuda.context.empty({s.batch, s.tokens, rotary.heads()}, DType::kF32);
  }
  const Tensor from = cuda.upload(x, shape, type), gradient = cuda.upload(d, shape, type);
  const bool apart = norm || given;
  const Tensor to = apart ? cuda.context.empty({s.batch, s.tokens, rotary.heads() * s.head_dim}, type) : from;
  rotary_forward(cuda.context, rotary, from, to, rstd);
  rotary_backward(cuda.context, rotary, norm ? from : Tensor(), rstd, gradient, d_gamma[0], d_gamma[1]);

  const int64_t to_row = to.shape()[2];
  std::vector<double> exact = apart ? std::vector<double>(static_cast<size_t>(to.elements())) : x, exact_d = d;
  const auto width = static_cast<size_t>(s.head_dim);
  for (int64_t r = 0; r < s.batch * s.tokens; ++r) {
    for (int64_t head = 0; head < rotary.heads(); ++head) {
      const size_t kind = head < s.query_heads ? 0 : 1;
      const auto at = static_cast<size_t>(r * row + head * s.head_dim);
      const std::span<const double> input(x.data() + at, width), output_gradient(d.data() + at, width);
      const int64_t position = positions[static_cast<size_t>(r)];
      reference::rotary_forward(input, position, frequencies, 1.0, gammas[kind], 1e-6,
                                std::span(exact).subspan(static_cast<size_t>(r * to_row + head * s.head_dim), width));
      reference::rotary_backward(input, position, frequencies, 1.0, gammas[kind], 1e-6, output_gradient,
                                 std::span(exact_d).subspan(at, width), d_gammas[kind]);
    }
  }
  // Angles are rounded to f32, as Hugging Face forms them: a few ulp of the largest position.
  const double slack = type == DType::kF32 ? 2e-5 * max_abs(exact) : 0.0;
  EXPECT_LE(largest_error(cuda.read(to), exact), allowed_difference(rounded(exact, type), exact, type) + slack);
  EXPECT_LE(largest_error(cuda.read(gradient), exact_d),
            allowed_difference(rounded(exact_d, type), exact_d, type) + slack);
  for (size_t i = 0; norm && i < 2; ++i) {
    EXPECT_LE(max_difference(cuda.read(d_gamma[i]), d_gammas[i]), 1e-4 * max_abs(d_gammas[i]));
  }
}

TEST_F(CudaFamilies, NormsOfHeadsOfMoreRowsThanGroups) {
  for (const int64_t dim : {16, 8}) {  // all of a head turned, or not
    check_rotary(cuda(), {86, 50, 1, 1, 16, dim}, DType::kBF16, true, false);
  }
}

TEST_F(CudaFamilies, RotaryPositionsAndNormsOfHeads) {
  for (const RotarySizes& s :
       {RotarySizes{1, 1, 1, 1, 2, 2}, RotarySizes{2, 3, 2, 1, 8, 8}, RotarySizes{1, 33, 3, 3, 24, 24},
        RotarySizes{2, 13, 4, 2, 18, 6}, RotarySizes{1, 20, 2, 1, 64, 64}, RotarySizes{1, 5, 2, 1, 128, 128},
        RotarySizes{2, 5, 7, 2, 80, 32}, RotarySizes{1, 3, 1, 1, 250, 200}, RotarySizes{1, 17, 5, 1, 7, 0},
        RotarySizes{2, 5, 7, 2, 64, 64}, RotarySizes{1, 4, 3, 2, 256, 256}}) {
    for (const DType type : kTypes) {
      for (const bool norm : {false, true}) {
        for (const bool given : {false, true}) {
          SCOPED_TRACE(std::to_string(s.head_dim) + name_of(type) + (norm ? " norm" : "") + (given ? " given" : ""));
          check_rotary(cuda(), s, type, norm, given);
        }
      }
    }
  }
}

TEST_F(CudaFamilies, CrossEntropyWithItsFurtherTerms) {
  const CpuContext cpu;
  constexpr int64_t kRows = 9, kWidth = 16, kVocabulary = 45, kPadded = 64;
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < kRows; ++r)
    targets.push_back(r % 4 == 1 ? kIgnoreIndex : static_cast<int32_t>(r * 7 % kVocabulary));
  const CrossEntropyOptions options[] = {{},
                                         {.soft_cap = 3.0f},
                                         {.z_loss = 0.1f},
                                         {.label_smoothing = 0.2f},
                                         {.soft_cap = 4.0f, .z_loss = 0.05f, .label_smoothing = 0.1f}};
  for (const DType type : kTypes) {
    for (const CrossEntropyOptions& option : options) {
      SCOPED_TRACE(std::string(name_of(type)) + " " + std::to_string(&option - options));
      std::vector<double> hidden = random_values(kRows * kWidth, 1), weight = random_values(kPadded * kWidth, 2);
      std::vector<double> d_weight = random_values(kPadded * kWidth, 3), d_hidden(hidden.size());
      const Tensor h = to_tensor(cpu, hidden, {kRows, kWidth}, type),
                   w = to_tensor(cpu, weight, {kPadded, kWidth}, type);
      const Tensor dw = to_tensor(cpu, d_weight, {kPadded, kWidth}, DType::kF32);
      const Tensor t = Tensor::view(targets.data(), {kRows}, DType::kI32);
      const Tensor there_dw = on_device(cuda().context, dw), there_dh = cuda().context.empty({kRows, kWidth}, type);
      const Tensor row_loss = cuda().context.empty({kRows}, DType::kF32);
      const LossSum actual =
          linear_cross_entropy(cuda().context, on_device(cuda().context, h), on_device(cuda().context, w),
                               on_device(cuda().context, t), kVocabulary, row_loss, there_dh, there_dw, option);
      const Tensor plain_dh = cpu.context.empty({kRows, kWidth}, type);
      linear_cross_entropy(cpu, h, w, t, kVocabulary, Tensor(), plain_dh, dw, option);
      const LossSum exact = reference::linear_cross_entropy(kRows, kWidth, kVocabulary, hidden, weight, targets,
                                                            d_hidden, d_weight, option);
      // Logits are stored in the type of hidden: their rounding, of the largest logit, bounds the losses'.
      const double rounding = (type == DType::kBF16 ? 0x1p-7 : 1e-5) * 20.0;
      EXPECT_EQ(actual.count, exact.count);
      EXPECT_NEAR(actual.sum, exact.sum, rounding * 6);
      EXPECT_NEAR(actual.z_loss, exact.z_loss, rounding * 6);
      EXPECT_NEAR(actual.smoothing, exact.smoothing, rounding * 6);
      const std::vector<double> rows = cuda().read(row_loss);
      double sum = 0.0;
      for (const double loss : rows) sum += loss;
      EXPECT_NEAR(sum, actual.sum, 1e-4);
      EXPECT_EQ(rows[1], 0.0);
      const double slack = type == DType::kBF16 ? 0.03 : 1e-5;
      EXPECT_LE(largest_error(cuda().read(there_dh), d_hidden),
                allowed_difference(to_doubles(plain_dh), d_hidden, type) + slack * max_abs(d_hidden));
      EXPECT_LE(largest_error(cuda().read(there_dw), d_weight),
                allowed_difference(to_doubles(dw), d_weight, type) + slack * max_abs(d_weight));
    }
  }
}

TEST_F(CudaFamilies, CrossEntropyWithoutIgnoredRows) {
  constexpr int64_t kRows = 100, kWidth = 16, kVocabulary = 45, kPadded = 64;
  for (const DType type : kTypes) {
    for (const int64_t every : {1, 3, 101}) {  // of the rows that count; chunks have 32
      SCOPED_TRACE(std::string(name_of(type)) + " " + std::to_string(every));
      std::vector<int32_t> targets;
      for (int64_t r = 1; r <= kRows; ++r) {
        targets.push_back(r % every != 0 ? kIgnoreIndex : static_cast<int32_t>(r * 7 % kVocabulary));
      }
      std::vector<double> hidden = random_values(kRows * kWidth, 1), weight = random_values(kPadded * kWidth, 2);
      std::vector<double> bias = random_values(kPadded, 3), zeros(kPadded * kWidth, 0.0);
      const Context& context = cuda().context;
      const Tensor h = cuda().upload(hidden, {kRows, kWidth}, type), w = cuda().upload(weight, {kPadded, kWidth}, type);
      const Tensor t = cuda().integers(targets, {kRows});
      struct Found {
        LossSum sum;
        std::vector<double> losses, d_hidden, d_weight, d_bias;
      };
      const auto run = [&](bool skip) -> Found {
        const Tensor row_loss = context.empty({kRows}, DType::kF32), d_hidden = context.empty({kRows, kWidth}, type);
        const Tensor d_weight = cuda().upload(zeros, {kPadded, kWidth}, DType::kF32);
        const CrossEntropyOptions options{
            .soft_cap = 3.0f,
            .z_loss = 0.1f,
            .skip_ignored = skip,
            .bias = cuda().upload(bias, {kPadded}, type),
            .d_bias = cuda().upload(zeros, {kPadded * kWidth}, DType::kF32).slice(0, {kPadded})};
        const LossSum sum = linear_cross_entropy(context, h, w, t, kVocabulary, row_loss, d_hidden, d_weight, options);
        return {sum, cuda().read(row_loss), cuda().read(d_hidden), cuda().read(d_weight), cuda().read(options.d_bias)};
      };
      const Found whole = run(false), skipped = run(true);
      EXPECT_EQ(skipped.sum.count, kRows / every);
      EXPECT_NEAR(skipped.sum.sum, whole.sum.sum, 1e-12 * whole.sum.sum);
      EXPECT_NEAR(skipped.sum.z_loss, whole.sum.z_loss, 1e-12 * whole.sum.z_loss);
      EXPECT_EQ(skipped.losses, whole.losses);
      EXPECT_EQ(skipped.d_hidden, whole.d_hidden);
      EXPECT_LE(max_difference(skipped.d_weight, whole.d_weight), 1e-5 * (1e-30 + max_abs(whole.d_weight)));
      EXPECT_LE(max_difference(skipped.d_bias, whole.d_bias), 1e-5 * (1e-30 + max_abs(whole.d_bias)));
    }
  }
}

TEST_F(CudaFamilies, RowsByIndex) {
  for (const DType type : kTypes) {
    constexpr int64_t kRows = 7, kWidth = 131;
    const std::vector<int32_t> indices{3, 0, 3, 6, 3};
    const auto count = std::ssize(indices);
    std::vector<double> x = random_values(kRows * kWidth, 1), d = random_values(count * kWidth, 2);
    const Tensor dx = cuda().upload(x, {kRows, kWidth}, type), dd = cuda().upload(d, {count, kWidth}, type);
    const Tensor out = cuda().context.empty({count, kWidth}, type), d_x = cuda().context.empty({kRows, kWidth}, type);
    const Tensor at = cuda().integers(indices, {count});
    gather_rows(cuda().context, dx, at, out);
    gather_rows_backward(cuda().context, at, dd, d_x);
    std::vector<double> rows, exact(x.size(), 0.0);
    for (size_t n = 0; n < indices.size(); ++n) {
      for (size_t c = 0; c < kWidth; ++c) {
        const size_t from = static_cast<size_t>(indices[n]) * kWidth + c;
        rows.push_back(x[from]);
        exact[from] += d[n * kWidth + c];
      }
    }
    EXPECT_EQ(cuda().read(out), rows);
    expect_within_twice(cuda().read(d_x), rounded(exact, type), exact, type);
  }
}

TEST_F(CudaFamilies, RangesOfColumns) {
  for (const DType type : kTypes) {
    for (const auto& [stride, first, width] : {std::array<int64_t, 3>{13, 4, 9}, {64, 16, 24}, {5, 0, 5}, {24, 3, 8}}) {
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(first) + " " + std::to_string(width));
      constexpr int64_t kRows = 6;
      std::vector<double> x = random_values(kRows * stride, 1), addend = random_values(kRows * width, 2);
      const Tensor dx = cuda().upload(x, {kRows, stride}, type), more = cuda().upload(addend, {kRows, width}, type);
      const Tensor out = cuda().context.empty({kRows, width}, type);
      take_columns(cuda().context, dx, first, 0.5f, out);
      add_to_columns(cuda().context, more, first, 0.25f, dx);
      std::vector<double> taken;
      for (int64_t i = 0; i < kRows * width; ++i) {
        double& value = x[static_cast<size_t>(i / width * stride + first + i % width)];
        taken.push_back(rounded(0.5 * value, type));
        value = rounded(value + 0.25 * addend[static_cast<size_t>(i)], type);
      }
      EXPECT_EQ(cuda().read(out), taken);
      EXPECT_LE(max_difference(cuda().read(dx), x), 1e-6) << "and the other columns stay as they are";
    }
  }
}

}  // namespace
}  // namespace tsugi::testing
