#include "core/downstream/ngrams.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace tsugi {
namespace {

constexpr int kHighestOrder = 16;
constexpr int64_t kBlock = 4096;  // positions that are summed together

/// Of a history and the token before it, or after it with another `key`. 64 bits tell 10⁸ n-grams apart but for one
/// chance in 3000.
uint64_t extend(uint64_t key, int32_t token) {
  uint64_t x = key * 0x9E3779B97F4A7C15u + static_cast<uint32_t>(token) + 1;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;  // splitmix64 (Steele et al. 2014)
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

constexpr uint64_t kEmptyHistory = 1;

uint64_t followed_by(uint64_t history, int32_t token) { return extend(~history, token); }

/// The first token of the document of each position; one document if nothing is said.
int64_t start_of(std::span<const int64_t> documents, int64_t position) {
  const auto next = std::ranges::upper_bound(documents, position);
  return next == documents.begin() ? 0 : *(next - 1);
}

/// Where an ascending list has the key; -1: nowhere.
int64_t find(const std::vector<uint64_t>& keys, uint64_t key) {
  const auto found = std::ranges::lower_bound(keys, key);
  return found == keys.end() || *found != key ? -1 : found - keys.begin();
}

}  // namespace

void NgramModel::Counts::count(std::span<const int32_t> tokens, std::span<const int64_t> documents, int64_t length) {
  std::vector<std::pair<uint64_t, uint64_t>> places;  // history and n-gram, where there is so long a history
  places.reserve(tokens.size());
  for (int64_t t = length; t < static_cast<int64_t>(tokens.size()); ++t) {
    if (t - length < start_of(documents, t)) continue;
    uint64_t history = kEmptyHistory;
    for (int64_t back = 1; back <= length; ++back) history = extend(history, tokens[static_cast<size_t>(t - back)]);
    places.emplace_back(history, followed_by(history, tokens[static_cast<size_t>(t)]));
  }
  std::ranges::sort(places);
  std::vector<std::pair<uint64_t, int64_t>> found;  // n-grams and their counts
  for (size_t begin = 0; begin < places.size();) {
    const uint64_t history = places[begin].first;
    size_t end = begin;
    int64_t different = 0;
    while (end < places.size() && places[end].first == history) {
      const size_t first = end;
      while (end < places.size() && places[end] == places[first]) ++end;
      found.emplace_back(places[first].second, end - first);
      ++different;
    }
    histories.push_back(history);
    occurrences.push_back(static_cast<int64_t>(end - begin));
    types.push_back(different);
    begin = end;
  }
  std::ranges::sort(found);
  for (const auto& [ngram, times] : found) {
    ngrams.push_back(ngram);
    ngram_occurrences.push_back(times);
  }
}

double NgramModel::Counts::interpolate(uint64_t history, uint64_t ngram, double shorter) const {
  const int64_t place = find(histories, history);
  if (place < 0) return shorter;
  const int64_t there = find(ngrams, ngram);
  const auto times = static_cast<double>(there < 0 ? 0 : ngram_occurrences[static_cast<size_t>(there)]);
  const auto all = static_cast<double>(occurrences[static_cast<size_t>(place)]);
  const auto different = static_cast<double>(types[static_cast<size_t>(place)]);
  return (times + different * shorter) / (all + different);
}

NgramModel::NgramModel(std::span<const int32_t> tokens, std::span<const int64_t> documents, int64_t vocabulary,
                       int order, ThreadPool& pool)
    : vocabulary_(vocabulary), orders_(static_cast<size_t>(order)) {
  CHECK(order >= 1 && order <= kHighestOrder) << order;
  pool.for_each(order, [&](int64_t length, int /*worker*/) {
    orders_[static_cast<size_t>(length)].count(tokens, documents, length);
  });
}

std::vector<double> NgramModel::probabilities(std::span<const int32_t> history, int32_t token) const {
  std::vector<double> result;
  double p = 1.0 / static_cast<double>(vocabulary_);
  uint64_t key = kEmptyHistory;
  for (size_t length = 0; length < orders_.size(); ++length) {
    if (length > 0 && length <= history.size()) key = extend(key, history[history.size() - length]);
    if (length <= history.size()) p = orders_[length].interpolate(key, followed_by(key, token), p);
    result.push_back(p);
  }
  return result;
}

std::vector<double> NgramModel::losses(std::span<const int32_t> tokens, std::span<const int64_t> documents,
                                       ThreadPool& pool) const {
  const auto all = static_cast<int64_t>(tokens.size());
  const int64_t blocks = (all + kBlock - 1) / kBlock;
  std::vector<std::vector<double>> sums(static_cast<size_t>(blocks), std::vector<double>(orders_.size()));
  pool.for_each(blocks, [&](int64_t block, int /*worker*/) {
    for (int64_t t = block * kBlock; t < std::min(all, (block + 1) * kBlock); ++t) {
      const int64_t begin = std::max(start_of(documents, t), t + 1 - static_cast<int64_t>(orders_.size()));
      const std::vector<double> p = probabilities(
          tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(t - begin)), tokens[static_cast<size_t>(t)]);
      for (size_t i = 0; i < p.size(); ++i) sums[static_cast<size_t>(block)][i] -= std::log(p[i]);
    }
  });
  std::vector<double> means(orders_.size());
  for (const std::vector<double>& block : sums) {
    for (size_t i = 0; i < means.size(); ++i) means[i] += block[i];
  }
  for (double& mean : means) mean /= static_cast<double>(std::max<int64_t>(all, 1));
  return means;
}

}  // namespace tsugi
