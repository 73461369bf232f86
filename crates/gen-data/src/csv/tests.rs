use std::path::Path;

use gen_core::Result;
use tch::Tensor;

use super::{CsvOptions, Table, parse};

fn read(text: &str) -> Result<Table> {
    read_with(text, &CsvOptions::default())
}

fn read_with(text: &str, options: &CsvOptions) -> Result<Table> {
    parse(text.as_bytes(), Path::new("x.csv"), options)
}

fn columns(names: &[&str]) -> CsvOptions {
    CsvOptions { columns: names.iter().map(|name| (*name).to_owned()).collect(), ..Default::default() }
}

fn values(table: &Table) -> Vec<f64> {
    Vec::try_from(table.x.reshape([-1])).unwrap()
}

/// The only warning.
fn warning(text: &str) -> String {
    let table = read(text).unwrap();
    let [warning] = &table.warnings[..] else { panic!("{text:?}: {:?}", table.warnings) };
    warning.clone()
}

#[test]
fn headers_and_separators_are_recognised() {
    let expected = Tensor::from_slice(&[1.0, -2.5, 3e2, 4.0]).view([2, 2]);
    for text in [
        "1,-2.5\n3e2,4\n",
        "\u{feff}x,y\r\n1, -2.5\r\n3e2,4",
        "\"fixed acidity\";\"pH\"\n1;-2.5\n3e2;4\n",
        "1\t-2.5\n300\t4.0\n\n",
        "1|-2.5\r300|4.0",
        " 1.0e+00  -2.5e+00\n 3.0e+02 4\n",
        "sep=;\nx;y\n1;-2.5\n300;4",
        "# x,y\n1,-2.5\n\n300,4\n",
    ] {
        let table = read(text).unwrap();
        assert_eq!(table.x, expected, "{text}");
        assert!(table.warnings.is_empty(), "{text}: {:?}", table.warnings);
    }
    assert_eq!(read("# x,y\n1,-2.5\n300,4\n").unwrap().names, ["x", "y"]);
    assert_eq!(read("x;y\n1;2\n\n3;4.5\n").unwrap().lines, [2, 4]);
}

#[test]
fn no_digit_is_lost() {
    assert_eq!(values(&read("2451545.3\n0.1\n1e-300\n").unwrap()), [2_451_545.3, 0.1, 1e-300]);
}

#[test]
fn a_bad_cell_is_named() {
    let error = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        error("height,weight\n1,2\n3,heavy\n"),
        "x.csv: line 3, column 2 (`weight`): `heavy` is not a finite number"
    );
    assert!(error("1,2\n3,\n").starts_with("x.csv: line 2, column 2: the cell is empty"));
    assert_eq!(error("1,2\nNaN,3\n"), "x.csv: line 2, column 1: `NaN` is not a finite number");
    assert!(error("1,x\n2,3\n").starts_with("x.csv: line 1, column 2: `x` is not a finite number; if the first line"));
    assert_eq!(error("1,2\n3\n"), "x.csv: line 2 has 1 cells, the first has 2");
    assert_eq!(error("a,b\n"), "x.csv: there are no rows of numbers");
    assert_eq!(error(""), "x.csv: there are no rows of numbers");
    assert_eq!(error("1\n1e999\n"), "x.csv: line 2, column 1: `1e999` is not a finite number");
    let text = error("id,species,mass\n1,cat,2\n2,dog,3\n");
    assert!(text.ends_with("`cat` is not a finite number; ?columns=id,mass takes only the columns of numbers"));
}

#[test]
fn columns_are_taken_by_name_or_number() {
    let text = "id,species,mass,age\n7,cat,2,5\n9,dog,3,6\n";
    for wanted in [["mass", "id"], ["3", "1"]] {
        let table = read_with(text, &columns(&wanted)).unwrap();
        assert_eq!((values(&table), table.names.join(",")), (vec![2.0, 7.0, 3.0, 9.0], "mass,id".to_owned()));
    }
    let error = |wanted: &[&str]| read_with(text, &columns(wanted)).unwrap_err().to_string();
    assert_eq!(error(&["mas"]), "unknown column `mas`: did you mean `mass`?");
    assert_eq!(error(&["5"]), "unknown column `5`: there are id, species, mass, age");
    let twice = read_with("a,a\n1,2\n", &columns(&["a"])).unwrap_err().to_string();
    assert!(twice.contains("two columns are called `a`"), "{twice}");
}

#[test]
fn a_header_of_numbers_is_reported_and_can_be_declared() {
    let text = "2019,2020,2021\n1.5,2.5,3\n0.5,4,5\n0.25,0,1\n";
    assert!(warning(text).contains("the first row looks like a header of numbers"));
    let declared = |header| CsvOptions { header: Some(header), ..Default::default() };
    let table = read_with(text, &declared(true)).unwrap();
    assert_eq!((table.x.size(), table.names.join(",")), (vec![3, 3], "2019,2020,2021".to_owned()));
    let table = read_with(text, &declared(false)).unwrap();
    assert_eq!((table.x.size()[0], table.warnings.len()), (4, 0));
    assert!(warning("0\n0.53\n1.2\n7.5\n").contains("like a header"));
    // A declared header may hold anything; without a header, names are a mistake.
    assert_eq!(read_with("a,1\n2,3\n", &declared(true)).unwrap().names, ["a", "1"]);
    assert!(read_with("a,b\n2,3\n", &declared(false)).is_err());
    assert!(read("1.5,2.5\n3,4\n5.25,6\n").unwrap().warnings.is_empty());
}

#[test]
fn headers_of_any_numbers_are_reported() {
    let rows = |count: u8, row: fn(f64) -> String| (0..count).map(|i| row(f64::from(i))).collect::<String>();
    let descending = |i: f64| format!("{:.3},{:.3},{:.3}\n", 3.0 + i.sin(), i.cos(), -3.0 - i.sin());
    let ages = |i: f64| format!("{},{},{}\n", 20.0 + i * 7.0 % 37.0, 60.0 - i, 40.0 + i * 3.0 % 7.0);
    for table in [
        // At distances that differ.
        "1990,2000,2020\n1.5,2.5,3\n0.5,4,5\n0.25,0,1\n".to_owned(),
        // Fractions, such as quantile levels.
        "0.05,0.5,0.95\n".to_owned() + &rows(20, descending),
        // Far from whole numbers, in any order.
        "2021,2019,2020\n".to_owned() + &rows(10, ages),
        // A single column.
        "2019\n0.53\n1.2\n7.5\n".to_owned(),
    ] {
        assert!(warning(&table).contains("like a header of numbers"), "{table}");
    }
    let counts = |i: f64| format!("{},{},{}\n", i * 7.0 % 5.0, i * 3.0 % 11.0, i * 5.0 % 8.0);
    let falls = |i: f64| format!("{}\n", 0.97f64.powf(i));
    for table in [rows(5, descending), rows(40, ages), rows(40, counts), rows(40, falls)] {
        assert_eq!(read(&table).unwrap().warnings, Vec::<String>::new(), "{table}");
    }
}

#[test]
fn an_index_is_reported() {
    let rows = |first: fn(usize) -> usize| -> String {
        (0..20).map(|i| format!("{},{}\n", first(i), (i * i) as f64 / 7.0)).collect()
    };
    assert!(warning(&(",x\n".to_owned() + &rows(|i| i))).contains("column 1 (``) numbers the rows"));
    assert!(warning(&("id,x\n".to_owned() + &rows(|i| i + 1))).contains("column 1 (`id`) numbers the rows"));
    assert!(warning(&("Unnamed: 0,x\n".to_owned() + &rows(|i| 5 * i))).contains("has no name"));
    assert!(warning(&("n,x\n".to_owned() + &rows(|i| i * 3 % 20))).contains("each number of a range once"));
    assert!(read(&("n,x\n".to_owned() + &rows(|i| i % 7))).unwrap().warnings.is_empty());
    let corner = read(",0,1\n0,0.5,0.25\n1,1.5,1.25\n").unwrap();
    assert_eq!((corner.x.size(), corner.names.join("|")), (vec![2, 3], "|0|1".to_owned()));
    let taken = read_with(&(",x\n".to_owned() + &rows(|i| i)), &columns(&["x"])).unwrap();
    assert!(taken.warnings.is_empty());
}

#[test]
fn commas_in_numbers_are_understood_and_reported() {
    for (text, expected) in [
        ("a;b\n1,5;2\n-0,25;3\n", [1.5, 2.0, -0.25, 3.0]),
        ("a,b\n\"1,5\",2\n\"0,25\",3\n", [1.5, 2.0, 0.25, 3.0]),
        ("a,b\n\"1,234.5\",2\n7,3\n", [1234.5, 2.0, 7.0, 3.0]),
        ("a,b\nTrue,2\nFalse,3\n", [1.0, 2.0, 0.0, 3.0]),
    ] {
        let table = read(text).unwrap();
        assert_eq!(values(&table), expected, "{text}");
        assert!(table.warnings[0].contains("column 1 (`a`)"), "{:?}", table.warnings);
    }
    // One column with a name, and one without.
    assert_eq!(values(&read("x\n1,5\n2,25\n").unwrap()), [1.5, 2.25]);
    assert!(warning("1,5\n2,25\n7,75\n").contains("?decimal=comma"));
    let comma = CsvOptions { decimal_comma: Some(true), ..Default::default() };
    assert_eq!(values(&read_with("1,5\n2,25\n", &comma).unwrap()), [1.5, 2.25]);
    let mixed = read("a;b\n1,5;2\n;3\n").unwrap_err().to_string();
    assert!(mixed.contains("line 3, column 1 (`a`): the cell is empty"), "{mixed}");
}

#[test]
fn empty_rows_and_columns_are_left_out_and_reported() {
    let table = read("a,b,\n1,2,\n,,\n3,4,\n").unwrap();
    assert_eq!((values(&table), &table.names[..]), (vec![1.0, 2.0, 3.0, 4.0], &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(table.lines, [2, 4]);
    assert!(table.warnings[0].contains("column 3 (``), which is empty"), "{:?}", table.warnings);
    assert!(table.warnings[1].contains("left out 1 row without any number"), "{:?}", table.warnings);
    assert_eq!(values(&read("1,2,\n3.5,4,\n").unwrap()), [1.0, 2.0, 3.5, 4.0]);
    assert!(warning("a,b\n1,2\n# a remark\n3.5,4\n").contains("left out 1 line of comments"));
}

#[test]
fn encodings_are_reported() {
    let table = parse(b"gr\xf6\xdfe\n1.5\n2\n", Path::new("x.csv"), &CsvOptions::default()).unwrap();
    assert_eq!(table.names, ["größe"]);
    assert!(table.warnings[0].starts_with("x.csv: it is not UTF-8, and was read as Windows-1252"));
    let utf_16: Vec<u8> = "\u{feff}a,b\n1,2.5\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(values(&parse(&utf_16, Path::new("x.csv"), &CsvOptions::default()).unwrap()), [1.0, 2.5]);
}
