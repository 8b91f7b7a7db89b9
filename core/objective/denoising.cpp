#include "core/objective/denoising.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tsugi {
namespace {

/// Python's and TensorFlow's round().
int64_t rounded_half_even(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

/// The `count` of `candidates` places with the lowest words from `first_word` on (the earlier one among equals).
NoiseMask lowest_words(const RandomStream& stream, int64_t first_word, int64_t candidates, int64_t count) {
  std::vector<std::pair<uint32_t, int64_t>> order;
  for (int64_t i = 0; i < candidates; ++i) {
    order.emplace_back(stream.word(static_cast<uint64_t>(first_word + i)), i);
  }
  std::ranges::nth_element(order, order.begin() + count);
  NoiseMask chosen(static_cast<size_t>(candidates), 0);
  for (int64_t i = 0; i < count; ++i) {
    chosen[static_cast<size_t>(order[static_cast<size_t>(i)].second)] = 1;
  }
  return chosen;
}

/// `items` in a row, cut into `segments` that are not empty.
std::vector<int64_t> random_segments(const RandomStream& stream, int64_t first_word, int64_t items, int64_t segments) {
  std::vector<int64_t> lengths{1};
  for (const uint8_t cut : lowest_words(stream, first_word, items - 1, segments - 1)) {
    if (cut != 0) {
      lengths.push_back(1);
    } else {
      ++lengths.back();
    }
  }
  return lengths;
}

}  // namespace

NoiseCounts noise_counts(int64_t length, double density, double mean_span) {
  NoiseCounts counts;
  counts.tokens = std::clamp<int64_t>(rounded_half_even(static_cast<double>(length) * density), 1,
                                      std::max<int64_t>(length - 1, 1));
  counts.spans = std::max<int64_t>(rounded_half_even(static_cast<double>(counts.tokens) / mean_span), 1);
  counts.spans = std::min({counts.spans, counts.tokens, std::max<int64_t>(length - counts.tokens, 1)});
  return counts;
}

NoiseMask span_noise(const RandomStream& stream, int64_t length, double density, double mean_span) {
  CHECK_GE(length, 2);
  const NoiseCounts counts = noise_counts(length, density, mean_span);
  const std::vector<int64_t> noise = random_segments(stream, 0, counts.tokens, counts.spans);
  const std::vector<int64_t> rest = random_segments(stream, length, length - counts.tokens, counts.spans);
  NoiseMask mask;
  for (size_t i = 0; i < noise.size(); ++i) {
    mask.insert(mask.end(), static_cast<size_t>(rest[i]), 0);
    mask.insert(mask.end(), static_cast<size_t>(noise[i]), 1);
  }
  return mask;
}

NoiseMask token_noise(const RandomStream& stream, int64_t length, double density) {
  CHECK_GE(length, 2);
  return lowest_words(stream, 0, length, noise_counts(length, density, 1.0).tokens);
}

NoiseMask suffix_noise(const RandomStream& stream, int64_t length) {
  CHECK_GE(length, 2);
  const auto first = static_cast<size_t>(1 + (uint64_t{stream.word(0)} * static_cast<uint64_t>(length - 1) >> 32));
  NoiseMask mask(static_cast<size_t>(length), 0);
  std::fill(mask.begin() + static_cast<std::ptrdiff_t>(first), mask.end(), 1);
  return mask;
}

std::vector<int32_t> runs_to_sentinels(std::span<const int32_t> tokens, const NoiseMask& marked,
                                       std::span<const int32_t> sentinels) {
  CHECK_EQ(tokens.size(), marked.size());
  std::vector<int32_t> result;
  size_t runs = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (marked[t] == 0) {
      result.push_back(tokens[t]);
    } else if (t == 0 || marked[t - 1] == 0) {
      CHECK_LT(runs, sentinels.size());
      result.push_back(sentinels[runs++]);
    }
  }
  return result;
}

std::vector<int32_t> marked_to_mask(std::span<const int32_t> tokens, const NoiseMask& marked, int32_t mask) {
  CHECK_EQ(tokens.size(), marked.size());
  std::vector<int32_t> result(tokens.begin(), tokens.end());
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (marked[t] != 0) result[t] = mask;
  }
  return result;
}

std::vector<int32_t> without_marked(std::span<const int32_t> tokens, const NoiseMask& marked) {
  CHECK_EQ(tokens.size(), marked.size());
  std::vector<int32_t> result;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (marked[t] == 0) result.push_back(tokens[t]);
  }
  return result;
}

NoiseMask inverted(NoiseMask mask) {
  for (uint8_t& marked : mask) marked = marked == 0 ? 1 : 0;
  return mask;
}

int64_t DenoisingRule::text_length(int64_t sequence) const {
  constexpr int64_t kMostTimes = 16;  // where noise is dropped the input hardly grows
  int64_t length = 2;
  while (length < kMostTimes * sequence && input_length(length + 1) <= sequence) ++length;
  return length;
}

int64_t DenoisingRule::sentinels(int64_t length) const {
  if (config.inputs() != Denoiser::SENTINELS) return 0;
  const NoiseCounts counts = noise_counts(length, config.density(), config.mean_span());
  switch (config.noise()) {
    case Denoiser::SPANS:
      return counts.spans;
    case Denoiser::TOKENS:  // runs of what stays may be one more than runs of noise
      return std::min(counts.tokens + 1, length - counts.tokens + 1);
    default:
      return 1;
  }
}

int64_t DenoisingRule::input_length(int64_t length) const {
  const int64_t noise = config.noise() == Denoiser::SUFFIX
                            ? 1  // the shortest one
                            : noise_counts(length, config.density(), config.mean_span()).tokens;
  int64_t shown = 0;
  if (config.inputs() == Denoiser::SENTINELS) shown = std::min(sentinels(length), noise);
  if (config.inputs() == Denoiser::MASK) shown = noise;
  return length - noise + shown + 1 + (config.mode_token() >= 0 ? 1 : 0);
}

int64_t DenoisingRule::target_length(int64_t length) const {
  if (config.targets() == Denoiser::TEXT) return length + 1;
  const int64_t noise = config.noise() == Denoiser::SUFFIX
                            ? length - 1
                            : noise_counts(length, config.density(), config.mean_span()).tokens;
  return noise + sentinels(length) + 1;
}

const DenoisingRule& DenoisingRules::draw(uint32_t word) const {
  double total = 0.0;
  for (const DenoisingRule& rule : rules) total += rule.config.weight();
  double place = static_cast<double>(word) * 0x1p-32 * total;
  for (const DenoisingRule& rule : rules) {
    place -= rule.config.weight();
    if (place < 0.0) return rule;
  }
  return rules.back();
}

TokenPair denoise(const DenoisingRules& all, const DenoisingRule& rule, std::span<const int32_t> tokens,
                  const RandomStream& stream) {
  const Denoiser& config = rule.config;
  const auto length = static_cast<int64_t>(tokens.size());
  NoiseMask noise;
  switch (config.noise()) {
    case Denoiser::SPANS:
      noise = span_noise(stream, length, config.density(), config.mean_span());
      break;
    case Denoiser::TOKENS:
      noise = token_noise(stream, length, config.density());
      break;
    default:
      noise = suffix_noise(stream, length);
      break;
  }
  TokenPair pair;
  switch (config.inputs()) {
    case Denoiser::SENTINELS:
      pair.input = runs_to_sentinels(tokens, noise, all.sentinels);
      break;
    case Denoiser::MASK:
      pair.input = marked_to_mask(tokens, noise, static_cast<int32_t>(config.mask_token()));
      break;
    default:
      pair.input = without_marked(tokens, noise);
      break;
  }
  if (config.targets() == Denoiser::TEXT) {
    pair.target.assign(tokens.begin(), tokens.end());
  } else if (config.inputs() == Denoiser::SENTINELS) {
    pair.target = runs_to_sentinels(tokens, inverted(noise), all.sentinels);
  } else {
    pair.target = without_marked(tokens, inverted(noise));
  }
  if (config.mode_token() >= 0) pair.input.insert(pair.input.begin(), static_cast<int32_t>(config.mode_token()));
  pair.input.push_back(all.end_token);
  pair.target.push_back(all.end_token);
  return pair;
}

std::vector<DenoisingRule> rules_of(const ObjectiveConfig& objective) {
  std::vector<DenoisingRule> rules;
  if (objective.has_span_corruption()) {
    Denoiser rule;
    rule.set_weight(1.0);
    rule.set_noise(Denoiser::SPANS);
    rule.set_density(objective.span_corruption().density());
    rule.set_mean_span(objective.span_corruption().mean_span());
    rule.set_inputs(Denoiser::SENTINELS);
    rule.set_targets(Denoiser::NOISE);
    rule.set_mask_token(-1);
    rule.set_mode_token(-1);
    rules.push_back({rule});
  }
  for (const Denoiser& rule : objective.denoising().denoiser()) rules.push_back({rule});
  return rules;
}

}  // namespace tsugi
