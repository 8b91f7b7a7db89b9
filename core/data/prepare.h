// From text to token files.
//
// Two passes over the text. The first (scan) reads everything, hashes every document and counts where a vocabulary or a
// split needs counts; then duplicates and sides are decided; the second encodes what is kept, on all threads, and
// writes it in the order of the input. The result depends on files and options alone: not on threads or ranks, not on
// how often the work was interrupted and begun again.
//
// On several ranks rank 0 reads and writes, and all scan and encode: text travels to the others, tokens come back. One
// reader must be fast enough for all, and only its host needs the files.
//
// Memory: some 5 MiB per thread and block under way (of rank 0 besides 10 MiB per thread of another rank), at most 256
// MiB while duplicates are sought, and per document of the input 2 bits; a document in one piece (or a line of JSON) is
// held whole, with its tokens. Disk beside the result: 24 bytes per document, until the end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/data/tokenizer/tokenizer.h"
#include "dist/communicator.h"

namespace tsugi {

/// How far `prepare` is.
struct PrepareProgress {
  bool encoding = false;  ///< the second pass
  int64_t bytes = 0;      ///< of the input's files, as they lie on the disk
  int64_t total_bytes = 0;
  int64_t documents = 0;
  int64_t tokens = 0;         ///< written
  int64_t resumed_bytes = 0;  ///< where this process began
};

/// Instead of a token: the one by which the tokenizer's documents end (Tokenizer::end_of_text()).
inline constexpr const char* kUsualEndOfText = "auto";

/// How text becomes tokens: what looks like a special token in it is text, and nothing is put around a document.
inline constexpr EncodeOptions kDocumentText{.template_tokens = false, .special_tokens = false};

struct PrepareOptions {
  enum class Format {
    kByName,  ///< .jsonl and .ndjson (also with .gz, .zst) are JSON objects, one per line; all else is text
    kText,
    kLines,
  };
  enum class Split {
    kDocuments,  ///< whole documents, chosen by a hash of their text: the same document always goes to the same side
    kTail,       ///< the last tokens of all text, in the order of the files: nanoGPT's 90/10
  };

  /// Files, folders (their .txt, .jsonl and .ndjson files, also with .gz or .zst, at any depth, sorted by path) and
  /// patterns (`*`, `?`, `[…]`, sorted).
  std::vector<std::string> inputs;
  /// If not empty: the validation text, given alike. `split` and `validation_fraction` then mean nothing.
  std::vector<std::string> validation_inputs;
  /// Folder to write to; made if it is not there. Token files that are there are replaced.
  std::string output;

  Format format = Format::kByName;
  /// Of lines of JSON: the member that is the document's text.
  std::string field = "text";
  /// A text file is a document. If this is not empty, a line that consists of it (then LF, CRLF or the end of the file)
  /// ends a document too; such lines are in no document.
  std::string separator;
  /// "bytes": 256 ids, any file. "characters": one id per Unicode code point that occurs in training or validation
  /// text; files must be UTF-8. Else a tokenizer.json, or a folder with one.
  std::string tokenizer = "bytes";
  /// If not empty: every document is followed by this one token; kUsualEndOfText: by the tokenizer's end of text.
  std::string end_of_text;
  Split split = Split::kDocuments;
  /// In (0, 1): of the documents (kDocuments, in expectation) or of the tokens (kTail).
  double validation_fraction = 0.1;
  /// 0: train.bin and validation.bin. Else NAME-00000.bin and so on, each of at most so many tokens (or one document),
  /// with NAME.index.json (core/data/token_shards.h).
  int64_t shard_tokens = 0;

  /// Longest document of a text file, and line of JSON. With "bytes" and "characters" text files have no limit.
  int64_t max_document_bytes = int64_t{1} << 28;
  /// 0: all CPUs.
  int threads = 0;
  /// If not null, and of several ranks: this is rank 0, and all others call help_to_prepare(). Not used after return.
  Communicator* ranks = nullptr;

  // For tests: the same result, with other costs.
  int64_t block_bytes = int64_t{1} << 20;  ///< text in one piece of work
  int64_t sync_blocks = 256;               ///< after so many blocks an interruption loses nothing before them
  int64_t duplicate_memory = int64_t{1} << 28;

  std::function<void(const PrepareProgress&)> on_progress;  ///< after every block
};

struct PrepareSummary {
  struct Side {
    int64_t documents = 0;
    int64_t tokens = 0;
    int64_t bytes = 0;  ///< of text
  };
  struct Longest {
    int64_t tokens = 0;
    int64_t bytes = 0;
    std::string place;  ///< "FILE: byte 123" or "FILE: line 4"
  };
  int64_t files = 0;
  /// Documents left out because an equal one (128-bit hash) came before it. Validation text given apart comes before
  /// the training text, so that what is validated was not trained on.
  int64_t duplicates = 0;
  int64_t empty_documents = 0;  ///< left out too
  int64_t vocabulary = 0;
  Side train;
  Side validation;
  Longest longest;  ///< the kept document of the most tokens
};

/// Writes OUTPUT/train.bin, train.bin.documents, validation.bin, validation.bin.documents (or their shards and
/// indices), tokenizer.json and, last, summary.json. Work files are in OUTPUT/.work: after an interruption of any kind
/// the same call goes on behind what is finished, when its files and options are the same and its checksums right.
/// Throws Error(kData) naming file and place of what is not UTF-8, no JSON or without the field, damaged or too long,
/// or when either side would be empty; Error(kUsage) when an option is out of range; Error(kInputOutput).
PrepareSummary prepare_text(const PrepareOptions& options);

/// On every rank but 0, while rank 0 prepares: scans and encodes on `threads` threads what rank 0 has read. Needs no
/// files. Returns when rank 0 is done or has failed; throws Error(kPeerLost) when it is lost.
void help_to_prepare(Communicator& ranks, int threads);

}  // namespace tsugi
