// Learns a vocabulary by byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909, algorithm 1): of bytes, or of
// characters for WordPiece, whose own training (Schuster and Nakajima 2012) was never published; Hugging Face's is
// this.
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
  /// Merging starts from the characters of words; tokens that go on with a word begin with "##". Special tokens, then
  /// at most so many characters, the most frequent; what has others is unknown. 0: bytes.
  int64_t wordpiece_alphabet = 0;
};

struct BpeVocabulary {
  /// By id, as bytes' names (byte_level.h); special tokens, and those of WordPiece, as they are.
  std::vector<std::string> names;
  std::vector<std::pair<int32_t, int32_t>> merges;
};

/// The most frequent pair of neighbouring tokens becomes a token, until there are enough; of equally frequent pairs the
/// one with the smaller ids. Vocabulary and merges are those of Hugging Face's BpeTrainer (tokenizers 0.23,
/// bpe/trainer.rs) on the same pieces with ByteLevel's whole alphabet; only its counts wrap at 2³¹. For WordPiece its
/// ids of "##" and a character, which decide between equally frequent pairs, differ from run to run; ours are by the
/// words.
BpeVocabulary train_bpe(const PieceCounter& pieces, const BpeTrainingOptions& options);

/// The tokenizer.json of a trained vocabulary, as Hugging Face writes it. `nfc`: the text is composed first.
std::string bpe_tokenizer_json(const BpeVocabulary& vocabulary, const BpeTrainingOptions& options,
                               const PieceCounter::Options& pieces);

/// The same for WordPiece, as BERT's; special tokens have an "[UNK]". "[CLS]" and "[SEP]", if there, stand around
/// texts.
std::string wordpiece_tokenizer_json(const BpeVocabulary& vocabulary, const BpeTrainingOptions& options,
                                     const BertNormalizer& normalizer);

}  // namespace tsugi
