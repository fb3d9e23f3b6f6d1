//! `host [BUNDLE]`: the firmware's console in this terminal. `host fixtures DIR`: writes the golden cases of the self-test
//! to DIR.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use firmware::{RAM, self_test};
use host::golden;
use host::terminal::Terminal;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut ram = vec![0; RAM];
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(ExitCode::from(firmware::run(&mut Terminal, None, &mut ram).code() as u8)),
        ["fixtures", dir] => {
            let cases = golden::cases()?;
            let Ok((hash, count)) = self_test::check(&mut Terminal, &cases, &mut ram) else {
                return Ok(ExitCode::FAILURE);
            };
            fs::write(Path::new(dir).join("kernels.postcard"), &cases)?;
            fs::write(Path::new(dir).join("hash"), format!("{hash}\n"))?;
            println!("{count} cases, {} bytes, hash {hash}", cases.len());
            Ok(ExitCode::SUCCESS)
        }
        [bundle] => {
            // For as long as the program runs.
            let bundle = Vec::leak(fs::read(bundle).map_err(|error| format!("{bundle}: {error}"))?);
            Ok(ExitCode::from(firmware::run(&mut Terminal, Some(bundle), &mut ram).code() as u8))
        }
        _ => {
            eprintln!("usage: host [BUNDLE], or host fixtures DIR");
            Ok(ExitCode::from(2))
        }
    }
}
