// From text to token files.
#pragma once

#include <cstdint>
#include <string>

namespace tsugi {

struct PrepareOptions {
  enum class Vocabulary {
    kBytes,       ///< 256 ids, any file
    kCharacters,  ///< one id per Unicode code point that occurs in training or validation text; files must be UTF-8
  };
  enum class Split {
    kDocuments,  ///< whole documents, chosen by a hash of their text: the same document always goes to the same side
    kTail,       ///< the last tokens of all text, in the order of the files: nanoGPT's 90/10
  };

  /// A file, or a folder whose *.txt files (at any depth, sorted by path) are read.
  std::string input;
  /// If not empty: the validation text, given alike. `split` and `validation_fraction` then mean nothing.
  std::string validation_input;
  /// Folder to write to; made if it is not there. Files of the same names are replaced.
  std::string output;

  Vocabulary vocabulary = Vocabulary::kBytes;
  /// A document is a file. If true, a line that consists of one form feed (U+000C, then LF, CRLF or the end of the
  /// file) ends a document too; such lines are in no document.
  bool form_feed_separates = false;
  Split split = Split::kDocuments;
  /// In (0, 1): of the documents (kDocuments, in expectation) or of the tokens (kTail).
  double validation_fraction = 0.1;
};

struct PrepareSummary {
  struct Side {
    int64_t documents = 0;
    int64_t tokens = 0;
    int64_t bytes = 0;  ///< of text
  };
  int64_t files = 0;
  /// Documents left out because an equal one (64-bit hash and length) came before it. Validation text given apart
  /// comes before the training text, so that what is validated was not trained on.
  int64_t duplicates = 0;
  int64_t empty_documents = 0;  ///< left out too
  int64_t vocabulary = 0;
  Side train;
  Side validation;
};

/// Writes OUTPUT/train.bin, train.bin.documents, validation.bin, validation.bin.documents, tokenizer.json and, last,
/// summary.json. Throws Error(kData) naming file and byte offset of what is not UTF-8, or when either side would be
/// empty; Error(kUsage) when an option is out of range; Error(kInputOutput).
PrepareSummary prepare_text(const PrepareOptions& options);

}  // namespace tsugi
