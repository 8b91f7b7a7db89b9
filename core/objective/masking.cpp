#include "core/objective/masking.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tsugi {

int64_t Masking::count(int64_t candidates) const {
  if (candidates == 0) return 0;
  const auto share = static_cast<int64_t>(std::floor(probability * static_cast<double>(candidates) + 0.5));
  return std::clamp<int64_t>(share, 1, candidates);
}

int64_t mask_tokens(const Masking& masking, const RandomStream& choice, const RandomStream& fate,
                    std::span<int32_t> tokens, std::span<int32_t> places, std::span<int32_t> originals) {
  std::vector<std::pair<uint32_t, int32_t>> order;  // word, place
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (std::ranges::binary_search(masking.special, tokens[t])) continue;
    order.emplace_back(choice.word(t), static_cast<int32_t>(t));
  }
  const int64_t count = masking.count(static_cast<int64_t>(order.size()));
  CHECK_LE(count, static_cast<int64_t>(std::min(places.size(), originals.size())));
  std::ranges::nth_element(order, order.begin() + count);
  for (int64_t i = 0; i < count; ++i) {
    places[static_cast<size_t>(i)] = order[static_cast<size_t>(i)].second;
  }
  std::sort(places.begin(), places.begin() + count);
  for (int64_t i = 0; i < count; ++i) {
    const auto t = static_cast<size_t>(places[static_cast<size_t>(i)]);
    originals[static_cast<size_t>(i)] = tokens[t];
    const double draw = static_cast<double>(fate.word(2 * t)) * 0x1p-32;
    if (draw < masking.mask_share) {
      tokens[t] = masking.mask_token;
    } else if (draw < masking.mask_share + masking.random_share) {
      tokens[t] =
          static_cast<int32_t>(uint64_t{fate.word(2 * t + 1)} * static_cast<uint64_t>(masking.vocabulary) >> 32);
    }
  }
  return count;
}

}  // namespace tsugi
