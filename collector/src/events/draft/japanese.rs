//! The draft in Japanese, in the order and the words of JPCERT/CC's alerts (注意喚起).

use martlet_detect::FindingType;
use martlet_window::TrafficClass;

use super::super::text::figure;
use super::Tlp;
use super::facts::{Facts, duration, estimate, japanese, japanese_day};

/// What the marking means, after TLP 2.0.
const fn meaning(tlp: Tlp) -> &'static str {
    match tlp {
        Tlp::Clear => "受信者は本情報を広く一般に共有できます。開示範囲に制限はありません。",
        Tlp::Green => "開示範囲は限定されます。受信者は本情報を所属するコミュニティ内で共有できます。",
        Tlp::Amber => {
            "開示範囲は限定されます。受信者は本情報を、知る必要がある者に限り、所属する組織内およびその顧客に共有できます。"
        }
        Tlp::AmberStrict => {
            "開示範囲は限定されます。受信者は本情報を、知る必要がある者に限り、所属する組織内でのみ共有できます。"
        }
        Tlp::Red => "本情報は受信者個人に限定されます。それ以外への開示はできません。",
    }
}

/// What is said at both ends of everything that is no real traffic.
const fn banner(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Real => "",
        TrafficClass::Drill => {
            "# 訓練 / EXERCISE — 訓練 / EXERCISE — 訓練 / EXERCISE\n\n**これは訓練です。以下の内容は実際に発生した事象ではありません。本文に基づく対応や公開は行わないでください。**\n\n"
        }
        TrafficClass::Import => {
            "# キャプチャファイルの分析\n\n**本文は、キャプチャファイルから読み込んだ通信に関するものです。センサーが現在観測している通信ではありません。**\n\n"
        }
    }
}

/// Writes the draft.
pub(super) fn draft(facts: &Facts<'_>) -> String {
    let label = facts.tlp.label();
    let mut text = format!("**{label}**\n\n{}\n\n{}", meaning(facts.tlp), banner(facts.class));
    text.push_str(&format!(
        "# {}に関する注意喚起（案）\n\n発行日：{} \\\n本案は観測イベント（{}）から作成されました。公開前に、すべての【要記入】を記入または削除してください。\n\n",
        title(facts),
        japanese_day(facts.now),
        facts.id
    ));
    text.push_str(&format!("## I. 概要\n\n{}\n\n", overview(facts)));
    text.push_str("【要記入：事象の説明を2文程度で。判明している場合は、マルウェアや攻撃活動の名称と、その確度】\n\n");
    text.push_str(&table(facts));
    text.push_str(&format!(
        "## II. 対象\n\nインターネットから{}に接続できる機器やサービスを運用している組織および個人が対象です。\n\n\
         【要記入：攻撃の対象となっている製品とバージョン。不明な場合は「不明」と記載】\n\n",
        port(facts)
    ));
    text.push_str(
        "## III. 影響\n\n【要記入：攻撃が成功した場合に想定される影響と、被害の確認状況】\n\n## IV. 対策\n\n",
    );
    text.push_str(&format!(
        "- {}がインターネットから接続可能な状態になっていないかを確認し、不要な場合はアクセスを制限してください。\n\
         - 自組織のネットワークから同じポートへの外向きの通信がないか、ログを確認してください。該当する通信を行っている機器は、マルウェアに感染している可能性があります。\n\
         - 【要記入：該当製品のアップデート、設定変更、回避策】\n\n",
        port(facts)
    ));
    text.push_str(
        "## V. 参考情報\n\n- 【要記入：開発者のアドバイザリ、CVE番号、過去の注意喚起など】\n\n\
         今回の件につきまして提供いただける情報がございましたら、【要記入：連絡先】までご連絡ください。\n\n",
    );
    text.push_str(banner(facts.class));
    text.push_str(&format!("**{label}**\n"));
    text
}

fn title(facts: &Facts<'_>) -> String {
    match facts.finding_type {
        FindingType::FirstSeenPort => format!("{}宛の新たな探索通信", port(facts)),
        FindingType::Surge => format!("{}宛の探索通信の増加", port(facts)),
        FindingType::Outbreak => format!("{}宛の探索通信の急増", port(facts)),
    }
}

fn port(facts: &Facts<'_>) -> String {
    match facts.service {
        Some(service) => format!("{}/{}（{service}）", facts.port, facts.protocol),
        None => format!("{}/{}", facts.port, facts.protocol),
    }
}

fn overview(facts: &Facts<'_>) -> String {
    let (onset, port) = (japanese(facts.onset), port(facts));
    let what = match facts.finding_type {
        FindingType::FirstSeenPort => {
            format!("{onset}以降、これまで観測されていなかった{port}宛の探索通信を、センサーで観測しています。")
        }
        FindingType::Surge => {
            format!(
                "{onset}以降、{port}宛の探索通信の送信元が、平常時の想定を大きく上回って増加していることを観測しています。"
            )
        }
        FindingType::Outbreak => format!(
            "{onset}以降、{port}宛の探索通信の送信元が指数関数的に増加していることを観測しています。このような増加は、自己増殖するマルウェアの感染拡大時にみられるものです。"
        ),
    };
    match facts.ended {
        Some(ended) => format!("{what}なお、{}までに終息したことを確認しています。", japanese(ended)),
        None => format!("{what}最後に観測した日時は{}です。", japanese(facts.last_active)),
    }
}

fn table(facts: &Facts<'_>) -> String {
    let mut text = "| 観測状況 | |\n| --- | --- |\n".to_owned();
    let mut row = |name: &str, value: String| text.push_str(&format!("| {name} | {value} |\n"));
    row("宛先ポート", format!("{}、IPv{}", port(facts), facts.ip));
    row(
        "パケットの特徴",
        facts.mark.map_or("既知のツールやボットの特徴は確認されていません".to_owned(), |mark| {
            format!("`{mark}`の特徴と一致")
        }),
    );
    row("増加の始まり", japanese(facts.onset));
    row("検知日時", japanese(facts.detected));
    if let Some(estimates) = &facts.estimates {
        row("1時間あたりの増加率", interval(&estimates.rate_per_hour, figure));
        let units = ["秒", "分", "時間", "日"];
        row("倍増時間", interval(&estimates.doubling_seconds, |seconds| duration(seconds, units)));
        if let Some(infected) = &estimates.infected {
            row("探索を行っているホスト数（推定）", interval(infected, figure));
        }
        if let Some(susceptible) = &estimates.susceptible {
            row("感染しうるホスト数（推定）", interval(susceptible, figure));
        }
    }
    let few = || format!("{}未満", facts.min_sources);
    row("記録した送信元の数", facts.sources.map_or_else(few, |sources| sources.to_string()));
    row("送信元の地域", regions(facts));
    row("観測アドレス数", facts.addresses.to_string());
    let names =
        if facts.sensor_names.is_empty() { String::new() } else { format!("（{}）", facts.sensor_names.join("、")) };
    row("観測したセンサー数", format!("{}{names}", facts.sensors));
    for (network, region, sources) in &facts.networks {
        row("送信元ネットワーク", format!("{network}（{region}）：{sources}"));
    }
    for label in &facts.labels {
        row("留意点", caution(label).to_owned());
    }
    text.push_str(
        "\n括弧内は95%区間です。地域は、最初に観測された送信元ネットワークの割り当て先であり、攻撃者の所在を示すものではありません。\n\n",
    );
    text
}

fn caution(label: &str) -> &'static str {
    match label {
        "single_sensor" => "観測の9割が1台のセンサーによるものです",
        "spoofed_looking" => "送信元アドレスの多くが詐称されている可能性があります",
        _ => "送信元の半数が1つのネットワークに属しています",
    }
}

fn regions(facts: &Facts<'_>) -> String {
    let mut regions: Vec<_> = facts.regions.iter().map(|(region, sources)| format!("{region}: {sources}")).collect();
    if facts.elsewhere > 0 {
        regions.push(format!("その他: {}", facts.elsewhere));
    }
    if regions.is_empty() { "少数のため記載しません".to_owned() } else { regions.join("、") }
}

fn interval(value: &martlet_detect::Estimate, number: impl Fn(f64) -> String) -> String {
    estimate(value, number, |value, low, high| match (value, high) {
        (Some(value), Some(high)) => format!("{value}（{low}～{high}）"),
        (Some(value), None) => format!("{value}（{low}以上）"),
        (None, Some(high)) => format!("{low}～{high}"),
        (None, None) => format!("{low}以上"),
    })
}
