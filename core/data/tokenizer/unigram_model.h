// Unigram: of all ways to cut a text into tokens the most probable one, where the tokens of a way are independent
// (Kudo, "Subword regularization", 2018, section 3.2), found by Viterbi's algorithm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

class UnigramModel {
 public:
  struct Token {
    std::string name;    ///< not empty, none twice
    double score = 0.0;  ///< log probability
  };
  /// `tokens` by id. `unknown`: the token of runs of characters that no token covers, each of which counts as 10 less
  /// probable than the rarest token. `byte_fallback`: such a run becomes the tokens of its bytes ("<0x0A>") if all
  /// are there.
  UnigramModel(std::vector<Token> tokens, std::optional<int32_t> unknown, bool byte_fallback);

  int64_t vocabulary() const { return static_cast<int64_t>(tokens_.size()); }
  const std::string& name(int32_t id) const { return tokens_[static_cast<size_t>(id)].name; }
  /// The id of a token of this name, or -1.
  int32_t find(std::string_view name) const;

  /// Appends the ids of a piece of valid UTF-8, those of Hugging Face's Unigram::encode_optimized, ties included.
  /// Throws Error(kData) at a character that no token covers if there is no unknown token.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;
  /// The same for bytes that are not UTF-8.
  void encode_unknown(std::string_view bytes, std::vector<int32_t>& ids) const;

 private:
  /// Of a trie by bytes. The children of a node are neighbours, ascending by label.
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t label = 0;
    int32_t id = -1;
  };
  /// How the best way to a place gets there.
  struct Arrival {
    double score = 0.0;
    int32_t id = -1;
    int64_t from = -1;
  };
  const Node* child(const Node& node, uint8_t label) const;
  [[noreturn]] void refuse(std::string_view piece, size_t at) const;

  std::vector<Token> tokens_;
  std::optional<int32_t> unknown_;
  std::vector<int32_t> bytes_;  ///< with byte_fallback: their tokens, or -1
  double unknown_score_ = 0.0;
  std::vector<Node> nodes_;
};

}  // namespace tsugi
