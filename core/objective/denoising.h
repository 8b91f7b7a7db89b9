// Texts with something missing, as a composition (Raffel et al. 2020, section 3.1.4, and their code: denoise(noise
// mask, inputs, targets)): which tokens are noise, what the input shows in their place, and what is to be said. Pure
// functions of a random stream.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/config/run.pb.h"
#include "ops/tensor/philox.h"

namespace tsugi {

/// For each token of a text whether it is noise.
using NoiseMask = std::vector<uint8_t>;

/// How many of `length` tokens are noise (rounded to even halves, at least one, not all), and in how many spans.
struct NoiseCounts {
  int64_t tokens = 0;
  int64_t spans = 0;
};
NoiseCounts noise_counts(int64_t length, double density, double mean_span);

/// Spans of noise, and of the rest before each of them, cut at places that are all equally likely: their
/// random_spans_noise_mask. Two tokens or more. Words 0 … 2·length - 1 of the stream.
NoiseMask span_noise(const RandomStream& stream, int64_t length, double density, double mean_span);
/// Each by itself, of noise_counts() tokens.
NoiseMask token_noise(const RandomStream& stream, int64_t length, double density);
/// All behind a place that is drawn; never all.
NoiseMask suffix_noise(const RandomStream& stream, int64_t length);

/// Each run of marked tokens becomes the next sentinel: [10 … 15], 110010 → [S0, 12, 13, S1, 15]. There must be as many
/// sentinels as runs (checked).
std::vector<int32_t> runs_to_sentinels(std::span<const int32_t> tokens, const NoiseMask& marked,
                                       std::span<const int32_t> sentinels);
/// Each marked token becomes `mask`.
std::vector<int32_t> marked_to_mask(std::span<const int32_t> tokens, const NoiseMask& marked, int32_t mask);
/// The tokens that are not marked.
std::vector<int32_t> without_marked(std::span<const int32_t> tokens, const NoiseMask& marked);
NoiseMask inverted(NoiseMask mask);

/// An input and what is to be said of it.
struct TokenPair {
  std::vector<int32_t> input;
  std::vector<int32_t> target;
};

/// One rule (core/config/run.proto).
struct DenoisingRule {
  Denoiser config;
  /// Tokens of text that one sample takes: as many as make an input of at most `sequence` tokens (2 where there are
  /// none), and at most 16·sequence. Their random_spans_helper.
  int64_t text_length(int64_t sequence) const;
  /// The most that a text of `length` tokens becomes, ends and mode token included.
  int64_t input_length(int64_t length) const;
  int64_t target_length(int64_t length) const;
  /// The most sentinels that are needed.
  int64_t sentinels(int64_t length) const;
  /// Whether all texts of one length have the same lengths.
  bool static_lengths() const { return config.noise() == Denoiser::SPANS; }
};

/// All that a sample is made by.
struct DenoisingRules {
  std::vector<DenoisingRule> rules;
  std::vector<int32_t> sentinels;
  int32_t end_token = 0;

  /// The rule of a sample, by the weights.
  const DenoisingRule& draw(uint32_t word) const;
};

/// `tokens`: text_length() of the rule's.
TokenPair denoise(const DenoisingRules& all, const DenoisingRule& rule, std::span<const int32_t> tokens,
                  const RandomStream& stream);

/// The rules of a span_corruption or denoising objective.
std::vector<DenoisingRule> rules_of(const ObjectiveConfig& objective);

}  // namespace tsugi
