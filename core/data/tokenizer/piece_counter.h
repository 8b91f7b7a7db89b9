// How often each piece occurs in a corpus: all that training a vocabulary needs to know of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/data/tokenizer/bert_text.h"
#include "core/data/tokenizer/pre_tokenizer.h"
#include "core/data/tokenizer/split_pattern.h"
#include "ops/base/thread_pool.h"

namespace tsugi {

/// A table of byte strings with counts.
class PieceTable {
 public:
  void add(std::string_view piece, uint64_t hash, int64_t count);
  void clear();
  size_t size() const { return entries_.size(); }
  std::string_view piece(size_t index) const;
  uint64_t hash(size_t index) const { return entries_[index].hash; }
  int64_t count(size_t index) const { return entries_[index].count; }

 private:
  struct Entry {
    uint64_t hash;
    uint64_t offset;
    int64_t count;
    uint32_t size;
  };
  void grow();

  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // index + 1 of an entry; 0: empty. A power of two.
  std::string bytes_;
};

/// Counts the pieces of documents in parallel; the result depends on the texts and their order alone, not on the number
/// of threads. Memory is bounded: about 50 bytes and the piece for each different piece, of which there are never many
/// more than `most_pieces`; whenever there are, the rarest are forgotten until half as many are left (see forgotten()).
class PieceCounter {
 public:
  struct Options {
    SplitPattern pattern = SplitPattern::kLlama3;
    bool nfc = false;  ///< compose the text first
    int64_t most_pieces = 8 << 20;
    std::optional<BertNormalizer> bert = {};  ///< instead of pattern and nfc: BERT's normalizer and its words
  };
  PieceCounter(ThreadPool& pool, const Options& options);

  /// Each text is a document on its own. What is not valid UTF-8 is skipped and counted. Long documents are cut where
  /// it does not matter (safe_cut).
  void add(std::span<const std::string_view> documents);

  int64_t bytes() const { return bytes_; }            ///< of text, counted so far
  int64_t invalid_bytes() const { return invalid_; }  ///< skipped, being no UTF-8
  /// How many pieces were forgotten, each with a count of at most forgotten_count(). 0: the counts are exact.
  int64_t forgotten() const { return forgotten_; }
  int64_t forgotten_count() const { return forgotten_count_; }
  int64_t different() const;

  /// The pieces and their counts, ascending by bytes. The views live as long as the counter is not changed.
  std::vector<std::pair<std::string_view, int64_t>> sorted() const;

 private:
  static constexpr size_t kShards = 64;
  struct Worker {
    std::vector<PieceTable> shards = std::vector<PieceTable>(kShards);
    int64_t invalid = 0;
  };
  void count(std::string_view text, Worker& worker) const;
  void count_valid(std::string_view text, Worker& worker) const;
  void merge_workers();
  void forget_rare();

  ThreadPool& pool_;
  Options options_;
  std::optional<PreTokenizer> words_;  ///< with options.bert
  std::vector<Worker> workers_;
  std::vector<PieceTable> shards_ = std::vector<PieceTable>(kShards);  // by hash
  int64_t bytes_ = 0;
  int64_t invalid_ = 0;
  int64_t forgotten_ = 0;
  int64_t forgotten_count_ = 0;
};

}  // namespace tsugi
