// What counting alone predicts: the baseline that a language model must beat.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/base/thread_pool.h"

namespace tsugi {

/// Interpolated n-gram models of the orders 1 … `order` with Witten–Bell smoothing (Witten and Bell 1991, method C;
/// Chen and Goodman 1998, equation 17), which has nothing to tune:
///   p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)),
/// h' being h without its oldest token, c() counts in the text, t(h) the number of different tokens behind h, and below
/// the empty history the uniform distribution. A history ends where its document begins.
class NgramModel {
 public:
  /// Counts `tokens`, all in [0, vocabulary); `documents`: their first tokens, ascending, may be empty. Up to 40 bytes
  /// for each different n-gram of each order, and 16 for each token and thread while it counts. 1 <= order <= 16.
  NgramModel(std::span<const int32_t> tokens, std::span<const int64_t> documents, int64_t vocabulary, int order,
             ThreadPool& pool);

  int order() const { return static_cast<int>(orders_.size()); }
  /// p(token | history), by the models of the orders 1 … order(). The last tokens of a longer history count.
  std::vector<double> probabilities(std::span<const int32_t> history, int32_t token) const;
  /// The mean of -log p over all tokens of a text, nats, for each order. In the order of blocks of fixed size, whatever
  /// the number of threads.
  std::vector<double> losses(std::span<const int32_t> tokens, std::span<const int64_t> documents,
                             ThreadPool& pool) const;

 private:
  /// Of histories of one length. Keys are hashes, ascending.
  struct Counts {
    std::vector<uint64_t> histories;
    std::vector<int64_t> occurrences;  ///< c(h)
    std::vector<int64_t> types;        ///< t(h)
    std::vector<uint64_t> ngrams;
    std::vector<int64_t> ngram_occurrences;  ///< c(h w)

    void count(std::span<const int32_t> tokens, std::span<const int64_t> documents, int64_t length);
    /// p(w | h), where the shorter history gives `shorter`.
    double interpolate(uint64_t history, uint64_t ngram, double shorter) const;
  };

  int64_t vocabulary_;
  std::vector<Counts> orders_;
};

}  // namespace tsugi
