// Rotary position embedding (RoPE) of queries and keys, optionally behind an RMSNorm per head (qk-norm).
#pragma once

#include <span>
#include <vector>

#include "ops/tensor/context.h"

namespace tsugi {

/// How the frequencies of a model trained on `original_context` tokens are stretched. Names and defaults as the fields
/// of Hugging Face's rope_scaling / rope_parameters.
struct RotaryScaling {
  /// kLinear: every frequency divided by `factor` (Chen et al., "Extending context window … via positional
  /// interpolation", 2023). kLlama3: low frequencies divided, high ones kept, smooth between (Llama 3.1's released
  /// code). kYarn: the same by a ramp over rotations, and scores scaled (Peng et al., "YaRN", 2023, sections 3.2–3.4).
  enum class Kind { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  int64_t original_context = 0;   ///< llama3, yarn
  double low_freq_factor = 1.0;   ///< llama3
  double high_freq_factor = 4.0;  ///< llama3
  double beta_fast = 32.0;        ///< yarn
  double beta_slow = 1.0;         ///< yarn
  bool truncate = true;           ///< yarn: the ramp's ends are whole dimensions
  double attention_factor = 0.0;  ///< yarn; 0: 0.1·ln(factor) + 1
};

/// theta^(-2i/dim), i in [0, dim/2), stretched: radians per position. `dim` is even.
std::vector<double> rotary_frequencies(int64_t dim, double theta, const RotaryScaling& scaling);

/// By what cosines and sines are multiplied: 1 but for yarn.
double rotary_attention_factor(const RotaryScaling& scaling);

/// f32 [positions, dim]: row p holds the dim/2 cosines, then the dim/2 sines of p·frequency, times the attention
/// factor. Frequencies and angles are rounded to f32, as Hugging Face forms them.
Tensor rotary_table(const Context& context, int64_t positions, int64_t dim, double theta, const RotaryScaling& scaling);

/// What is done to the heads at the front of every row of a packed [B, T, row] buffer: `query_heads`, then `key_heads`
/// of `head_dim` each.
struct Rotary {
  int64_t query_heads = 0;
  int64_t key_heads = 0;
  int64_t head_dim = 0;
  /// From rotary_table(); undefined: no rotation. Its dim may be less than head_dim: the rest of a head is kept.
  Tensor table;
  int64_t first_position = 0;  ///< token t is at first_position + t …
  Tensor positions;            ///< … unless this is defined: i32 [B, T], in [0, rows of the table)
  /// RMSNorm of each head before the rotation (Qwen3): [head_dim] of the buffer's type, both or neither.
  Tensor query_gamma;
  Tensor key_gamma;
  float epsilon = 1e-6f;

  int64_t heads() const { return query_heads + key_heads; }
  bool has_norm() const { return query_gamma.defined(); }
};

/// to[b, t, head] = rotate(norm(from[b, t, head])): element i < dim/2 and element i + dim/2 of a head are a plane,
/// turned by the angle of frequency i ("rotate half", the layout of Hugging Face's checkpoints). Su et al., "RoFormer"
/// (2021), eq. 34. `from` and `to` are [B, T, ≥ heads·head_dim] of one type; what follows the heads in a row is neither
/// read nor written; without the norm `to` may be `from`. `rstd` f32 [B, T, heads], with the norm only, is saved for
/// backward.
void rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                    const Tensor& rstd);

/// Turns the gradient of `to`, at the front of the rows of `gradient`, into that of `from`, in place. With the norm,
/// `from` and `rstd` are needed, and d_query_gamma, d_key_gamma (f32 [head_dim]) are added to, rows in fixed chunks in
/// order; else these are undefined.
void rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                     const Tensor& gradient, const Tensor& d_query_gamma, const Tensor& d_key_gamma);

namespace reference {
/// One head: x is normed with gamma (unless empty) and turned by `position`.
void rotary_forward(std::span<const double> x, int64_t position, std::span<const double> frequencies,
                    double attention_factor, std::span<const double> gamma, double epsilon, std::span<double> y);
/// Writes d_x; adds to d_gamma (unless gamma is empty).
void rotary_backward(std::span<const double> x, int64_t position, std::span<const double> frequencies,
                     double attention_factor, std::span<const double> gamma, double epsilon,
                     std::span<const double> d_y, std::span<double> d_x, std::span<double> d_gamma);
}  // namespace reference

}  // namespace tsugi
