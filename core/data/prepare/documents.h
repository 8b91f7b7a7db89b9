// From blocks of text to documents.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "core/data/json.h"
#include "core/data/prepare/blocks.h"

namespace tsugi {

/// A document, or a part of one that is larger than a block.
struct DocumentPiece {
  std::string_view text = {};  ///< until the next piece
  uint32_t file = 0;
  bool line = false;  ///< `place` is the number of a line, from 1; else a byte of the file
  int64_t place = 0;
  bool starts = true;
  bool ends = true;
  int64_t number = 0;  ///< of its document, counting those that are not empty

  /// An empty document has no number.
  bool empty() const { return starts && ends && text.empty(); }
};

/// "FILE: line 12" or "FILE: byte 345".
inline std::string place_of(const std::vector<InputFile>& files, const DocumentPiece& piece) {
  return files[piece.file].path + (piece.line ? ": line " : ": byte ") + std::to_string(piece.place);
}

/// Calls visit(line, place) for every line of a piece of lines that is not blank; place is a DocumentPiece without
/// text. Throws Error(kData) naming file and line when one has more than `max_line` bytes.
template <class Visit>
void for_each_line(const TextBlock& block, const TextPiece& piece, const std::vector<InputFile>& files,
                   int64_t max_line, const Visit& visit) {
  DocumentPiece place{.file = piece.file, .line = true, .place = piece.place};
  const std::string_view text = std::string_view(block.text).substr(piece.begin, piece.length);
  for (size_t begin = 0; begin < text.size(); ++place.place) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (static_cast<int64_t>(line.size()) > max_line) throw too_long(place_of(files, place), max_line);
    visit(line, place);
  }
}

/// Calls visit(DocumentPiece) for all of a block, in order; of lines of JSON the text is that of the member `field`,
/// and blank lines are none. Throws Error(kData) naming file, line and reason, also for a line of more than `max_line`
/// bytes.
template <class Visit>
void for_each_document(const TextBlock& block, const std::vector<InputFile>& files, const std::string& field,
                       int64_t max_line, const Visit& visit) {
  int64_t number = block.first_document;
  const auto hand_over = [&](DocumentPiece piece) {
    piece.number = number;
    visit(piece);
    if (piece.ends && !piece.empty()) ++number;
  };
  for (const TextPiece& piece : block.pieces) {
    if (piece.lines) {
      for_each_line(block, piece, files, max_line, [&](std::string_view line, DocumentPiece document) {
        const std::string value = parse_json(line, place_of(files, document)).require_string(field);
        document.text = value;
        hand_over(document);
      });
      continue;
    }
    hand_over({.text = std::string_view(block.text).substr(piece.begin, piece.length),
               .file = piece.file,
               .place = piece.place,
               .starts = piece.starts,
               .ends = piece.ends});
  }
}

}  // namespace tsugi
