// Learns a byte-level BPE vocabulary: Sennrich et al. 2016, arXiv:1508.07909, algorithm 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/data/tokenizer/piece_counter.h"

namespace tsugi {

struct BpeTrainingOptions {
  /// Tokens in all: special ones, the 256 bytes, merges. Fewer when the text has not that many pairs.
  int64_t vocabulary = 32768;
  /// They have the first ids. None empty, none twice.
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  /// Pairs that occur less often are not merged.
  int64_t min_frequency = 0;
};

struct BpeVocabulary {
  /// By id, as bytes' names (byte_level.h); special tokens as they are.
  std::vector<std::string> names;
  std::vector<std::pair<int32_t, int32_t>> merges;
};

/// The most frequent pair of neighbouring tokens becomes a token, until there are enough; of equally frequent pairs the
/// one with the smaller ids. Vocabulary and merges are those of Hugging Face's BpeTrainer (tokenizers 0.23,
/// bpe/trainer.rs) on the same pieces with ByteLevel's whole alphabet; only its counts wrap at 2³¹.
BpeVocabulary train_bpe(const PieceCounter& pieces, const BpeTrainingOptions& options);

/// The tokenizer.json of a trained vocabulary, as Hugging Face writes it. `nfc`: the text is composed first.
std::string bpe_tokenizer_json(const BpeVocabulary& vocabulary, const BpeTrainingOptions& options,
                               const PieceCounter::Options& pieces);

}  // namespace tsugi
