// Comma-separated values (RFC 4180), read strictly: every row has the header's number of fields, quotes close.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

struct CsvTable {
  std::string origin;  ///< the file that errors name
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<int64_t> lines;  ///< where each row begins, from 1

  /// Index of the column of that name, or -1 when there is none; Error(kData) when there are two.
  int64_t find_column(std::string_view name) const;
  /// As find_column, but a missing column is an Error(kData) with the nearest name and the list of names.
  int64_t require_column(std::string_view name) const;
};

/// Parses a table with a header. Line ends are \n or \r\n; a byte-order mark and empty lines are skipped. Throws
/// Error(kData) naming line and reason: rows of another length, quotes in the wrong place, bytes that are no text, no
/// header, no rows, more than 10,000 columns or 10 million fields.
CsvTable parse_csv(std::string_view text, const std::string& origin);

/// parse_csv() of a file of at most 1 GiB.
CsvTable read_csv(const std::string& path);

/// The fields of one line, with the same quoting.
std::vector<std::string> parse_csv_line(std::string_view line, const std::string& origin);

/// `text` as a field to write: in quotes where it needs them.
std::string csv_field(std::string_view text);

/// The whole of `text`, blanks around it left out, as a number; NaN for "" and "nan", infinities for "inf"; false when
/// it is none of these ("1,000", "7B", "0x10").
bool parse_csv_number(std::string_view text, double& value);

}  // namespace tsugi
