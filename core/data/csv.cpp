#include "core/data/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/config/nearest.h"
#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxCsvBytes = int64_t{1} << 30;
constexpr size_t kMaxColumns = 10000;
constexpr size_t kMaxFields = 10'000'000;
constexpr size_t kShown = 60;

class Reader {
 public:
  Reader(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }

  bool at_end() const { return next_ >= text_.size(); }
  int64_t line() const { return line_; }

  /// The fields up to the end of the line; one empty field for an empty line.
  std::vector<std::string> record() {
    std::vector<std::string> fields;
    while (true) {
      fields.push_back(peek() == '"' ? quoted() : plain());
      if (fields.size() > kMaxColumns) fail("more than " + std::to_string(kMaxColumns) + " columns");
      if (at_end()) return fields;
      if (text_[next_] == ',') {
        ++next_;
        continue;
      }
      end_line();
      return fields;
    }
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(ExitCode::kData, origin_ + ": line " + std::to_string(line_) + ": " + reason);
  }

 private:
  char peek() const { return at_end() ? '\0' : text_[next_]; }

  std::string plain() {
    const size_t begin = next_;
    while (!at_end() && text_[next_] != ',' && text_[next_] != '\n' && text_[next_] != '\r') {
      if (text_[next_] == '"') fail("a quote inside a field that does not begin with one");
      if (text_[next_] == '\0') fail("a zero byte: this is not text, or text in UTF-16, which must be saved as UTF-8");
      ++next_;
    }
    return std::string(text_.substr(begin, next_ - begin));
  }

  std::string quoted() {
    std::string field;
    ++next_;
    while (true) {
      if (at_end()) fail("a quoted field does not end");
      const char c = text_[next_++];
      if (c == '\0') fail("a zero byte: this is not text, or text in UTF-16, which must be saved as UTF-8");
      if (c == '\n') ++inside_;
      if (c != '"') {
        field += c;
        continue;
      }
      if (peek() != '"') break;
      field += '"';
      ++next_;
    }
    const char after = peek();
    if (!at_end() && after != ',' && after != '\n' && after != '\r') fail("text after a closing quote");
    return field;
  }

  void end_line() {
    if (text_[next_] == '\r') {
      ++next_;
      if (peek() != '\n') fail("a carriage return without a line feed");
    }
    ++next_;
    line_ += 1 + inside_;
    inside_ = 0;
  }

  std::string_view text_;
  const std::string& origin_;
  size_t next_ = 0;
  int64_t line_ = 1;
  int64_t inside_ = 0;  // line feeds in the quoted fields of this record
};

std::string_view without_spaces(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

int64_t CsvTable::find_column(std::string_view name) const {
  int64_t found = -1;
  for (size_t i = 0; i < header.size(); ++i) {
    if (header[i] != name) continue;
    if (found >= 0) throw Error(ExitCode::kData, origin + ": there are two columns \"" + header[i] + "\"");
    found = static_cast<int64_t>(i);
  }
  return found;
}

int64_t CsvTable::require_column(std::string_view name) const {
  const int64_t found = find_column(name);
  if (found >= 0) return found;
  std::string list;
  for (size_t i = 0; i < header.size() && i < 30; ++i) list += (i == 0 ? "" : ", ") + header[i].substr(0, kShown);
  if (header.size() > 30) list += ", …";
  const std::string nearest = nearest_name(name, header);
  throw Error(ExitCode::kData, origin + ": there is no column \"" + std::string(name) + "\"",
              (nearest.empty() ? "" : "did you mean \"" + nearest + "\"? ") + "The columns: " + list);
}

CsvTable parse_csv(std::string_view text, const std::string& origin) {
  CsvTable table;
  table.origin = origin;
  Reader reader(text, origin);
  size_t fields = 0;
  while (!reader.at_end()) {
    const int64_t line = reader.line();
    std::vector<std::string> record = reader.record();
    if (record.size() == 1 && without_spaces(record[0]).empty()) continue;
    if (table.header.empty()) {
      for (std::string& name : record) table.header.emplace_back(without_spaces(name));
      if (table.header.size() == 1 && table.header[0].find_first_of(";\t") != std::string::npos) {
        throw Error(ExitCode::kData, origin + ": line 1: one column whose name holds ; or a tab",
                    "fields are separated by commas");
      }
      continue;
    }
    if (record.size() != table.header.size()) {
      throw Error(ExitCode::kData, origin + ": line " + std::to_string(line) + ": " + std::to_string(record.size()) +
                                       " fields, but the header has " + std::to_string(table.header.size()));
    }
    fields += record.size();
    if (fields > kMaxFields) reader.fail("more than " + std::to_string(kMaxFields) + " fields");
    table.rows.push_back(std::move(record));
    table.lines.push_back(line);
  }
  if (table.header.empty()) throw Error(ExitCode::kData, origin + ": is empty", "the first line must name the columns");
  if (table.rows.empty()) throw Error(ExitCode::kData, origin + ": has a header but no rows");
  return table;
}

CsvTable read_csv(const std::string& path) { return parse_csv(read_file(path, kMaxCsvBytes), path); }

std::vector<std::string> parse_csv_line(std::string_view line, const std::string& origin) {
  Reader reader(line, origin);
  std::vector<std::string> fields = reader.record();
  if (!reader.at_end()) reader.fail("a line feed in one line");
  return fields;
}

bool parse_csv_number(std::string_view text, double& value) {
  text = without_spaces(text);
  if (text.empty()) {
    value = std::nan("");
    return true;
  }
  if (text.front() == '+' && text.size() > 1 && text[1] != '-' && text[1] != '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
    value = std::nan("");
    return true;
  }
  return error == std::errc() && end == text.data() + text.size();
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  return field + "\"";
}

}  // namespace tsugi
