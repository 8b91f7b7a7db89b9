// Results as lines of JSON that outlive the program: it may die on a device's fault, hang, or be cut, at any piece of
// its work, and be begun again.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "ops/base/error.h"

namespace tsugi {

/// A line per piece of work: its beginning is written when the piece begins, the rest when it ends. What a program that
/// died was at is thus known: the next one ends that line with an "error", and goes on behind it.
class RowFile {
 public:
  /// Appends to `path` (empty: keeps nothing). `seconds`: a piece that takes longer ends the program (SIGALRM).
  /// Throws kInputOutput.
  RowFile(const std::string& path, unsigned seconds) : path_(path), seconds_(seconds) {
    if (path.empty()) return;
    std::ifstream before(path);
    bool cut = false;  // the last line has no end
    for (std::string line; std::getline(before, line);) {
      cut = before.eof();
      earlier_.push_back(line);
    }
    file_.open(path, std::ios::app);
    if (cut) end(R"(, "error": "the program died here, or took too long"})");
    require_written();
    if (cut) earlier_.back() += '}';
  }

  /// Whether an earlier program has begun the piece whose line begins so.
  bool has(std::string_view beginning) const {
    return std::ranges::any_of(earlier_, [&](const std::string& line) { return line.starts_with(beginning); });
  }

  const std::vector<std::string>& earlier() const { return earlier_; }

  /// `beginning`: an object of JSON without its last brace.
  void begin(const std::string& beginning) {
    if (file_.is_open()) file_ << beginning << std::flush;
    alarm(seconds_);
  }

  /// `rest`: from a comma to the last brace.
  void end(const std::string& rest) {
    alarm(0);
    if (!file_.is_open()) return;
    file_ << rest << std::endl;
    require_written();
  }

 private:
  void require_written() const {
    if (!file_.good()) throw Error(ExitCode::kInputOutput, path_ + " cannot be written");
  }

  std::string path_;
  unsigned seconds_;
  std::vector<std::string> earlier_;
  std::ofstream file_;
};

/// A text as a string of JSON, at most `most` bytes of it.
inline std::string json_text(std::string_view text, size_t most = 400) {
  return nlohmann::json(std::string(text.substr(0, most)))
      .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace tsugi
