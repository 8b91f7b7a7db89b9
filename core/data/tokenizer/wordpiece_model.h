// WordPiece: a word is cut into the longest tokens that there are, from left to right (Devlin et al. 2019, section 3;
// their code: WordpieceTokenizer).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tsugi {

class WordPieceModel {
 public:
  struct Options {
    std::string prefix = "##";   ///< of tokens that go on with a word
    int64_t longest_word = 100;  ///< in characters; longer words are unknown
    int32_t unknown = 0;         ///< the token of a word that cannot be cut
  };
  /// `names` by id, each once, none empty.
  WordPieceModel(std::vector<std::string> names, Options options);

  int64_t vocabulary() const { return static_cast<int64_t>(names_.size()); }
  const std::string& name(int32_t id) const { return names_[static_cast<size_t>(id)]; }
  /// The id of a token of this name, or -1.
  int32_t find(std::string_view name) const;

  /// Appends the ids of a word; one that is not UTF-8 is unknown.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  /// The id of the token `begin` + `rest` (hashed), or -1.
  int32_t find(std::string_view begin, std::string_view rest, uint64_t hash) const;

  std::vector<std::string> names_;
  Options options_;
  size_t longest_name_ = 0;
  std::vector<int32_t> slots_;  // open addressing by hash, a power of two; -1: empty
};

}  // namespace tsugi
