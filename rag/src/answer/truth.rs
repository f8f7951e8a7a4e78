//! The quote check as data: question, passages, sentence of an answer, verdict.

use std::collections::BTreeSet;

use super::{
    context::{ContextPassage, Section},
    support::{Doubt, QuoteIndex, Verdict},
    tests::context,
};

/// What the check must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Supported,
    /// By so many quotes.
    SupportedBy(usize),
    Opposite,
    OtherEntity,
    OtherFact,
    /// Not supported, whatever the reason.
    Unsupported,
}

use Is::*;

type Passages = &'static [(&'static str, &'static str)];

fn check(passages: Passages, table: &[(&str, &str, Is)]) {
    check_in(&context(passages), table);
}

fn check_in(context: &[ContextPassage], table: &[(&str, &str, Is)]) {
    let mut wrong = Vec::new();
    for (question, sentence, expected) in table {
        let verdict = QuoteIndex::new(question, context).check(sentence, &BTreeSet::new());
        let right = match (&verdict, expected) {
            (Verdict::Supported(_), Supported)
            | (Verdict::Unsupported(_), Unsupported)
            | (Verdict::Unsupported(Doubt::Opposite(_)), Opposite)
            | (Verdict::Unsupported(Doubt::OtherEntity), OtherEntity)
            | (Verdict::Unsupported(Doubt::OtherFact(_)), OtherFact) => true,
            (Verdict::Supported(quotes), SupportedBy(count)) => quotes.len() == *count,
            _ => false,
        };
        if !right {
            wrong.push(format!(
                "{question} {sentence}: {expected:?}, got {verdict:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const SUBSTANCES: Passages = &[(
    "Substances in the paint shop",
    "| Substance | Flammable | Storage temperature | Cabinet |\n|---|---|---|---|\n| Acetone | yes | 15-25 °C | K1 |\n\
     | Glycerol | no | 10-30 °C | K4 |\n| Toluene | yes | 5-25 °C | K1 |\n| Sodium chloride solution | no | 5-40 °C | K5 |\n\n\
     Gloves are required for toluene. No gloves are required for glycerol.",
)];

#[test]
fn yes_and_no_are_claims_about_the_row_and_its_column() {
    check(
        SUBSTANCES,
        &[
            (
                "Is glycerol flammable?",
                "Yes, glycerol is flammable.",
                Opposite,
            ),
            ("Is glycerol flammable?", "Glycerol is flammable.", Opposite),
            ("Is glycerol flammable?", "Yes.", Opposite),
            (
                "Is glycerol flammable?",
                "Yes, glycerol is not flammable.",
                Opposite,
            ),
            (
                "Is glycerol flammable?",
                "No, glycerol is not flammable.",
                Supported,
            ),
            (
                "Is glycerol flammable?",
                "Glycerol is not flammable.",
                Supported,
            ),
            ("Is glycerol flammable?", "No.", Supported),
            (
                "Is acetone flammable?",
                "Yes, acetone is flammable.",
                Supported,
            ),
            ("Is acetone flammable?", "Yes.", Supported),
            ("Is acetone flammable?", "No.", Opposite),
            (
                "Is acetone flammable?",
                "No, acetone is not flammable.",
                Opposite,
            ),
            (
                "Is acetone flammable?",
                "Acetone isn't flammable.",
                Opposite,
            ),
            (
                "Are gloves required for glycerol?",
                "Yes, gloves are required for glycerol.",
                Unsupported,
            ),
            (
                "Are gloves required for glycerol?",
                "No, no gloves are required for glycerol.",
                Supported,
            ),
            (
                "Are gloves required for toluene?",
                "Yes, gloves are required for toluene.",
                Supported,
            ),
            (
                "Which substances are not flammable?",
                "Glycerol and sodium chloride solution are not flammable.",
                Supported,
            ),
        ],
    );
}

#[test]
fn a_row_is_read_with_its_own_key_and_column() {
    check(
        SUBSTANCES,
        &[
            (
                "In which cabinet is glycerol?",
                "Glycerol is in cabinet K4.",
                Supported,
            ),
            (
                "In which cabinet is glycerol?",
                "Glycerol is in cabinet K1.",
                Unsupported,
            ),
            (
                "In which cabinet is glycerol?",
                "Glycerol is at 10-30 °C.",
                OtherFact,
            ),
            (
                "At which temperature is acetone stored?",
                "Acetone is stored at 15-25 °C.",
                Supported,
            ),
            (
                "At which temperature is acetone stored?",
                "Acetone is stored at 10-30 °C.",
                Unsupported,
            ),
            (
                "What does glycerol cost?",
                "Glycerol costs 10-30 °C.",
                OtherFact,
            ),
            (
                "What is in cabinet K5?",
                "Sodium chloride solution is in cabinet K5.",
                Supported,
            ),
        ],
    );
}

const SUBSTANCES_ABROAD: Passages = &[
    (
        "Stoffe",
        "| Stoff | Brennbar | Schrank |\n|---|---|---|\n| Aceton | ja | K1 |\n| Glycerin | nein | K4 |\n| Toluol | ja | K2 |",
    ),
    (
        "Produits",
        "| Produit | Inflammable | Armoire |\n|---|---|---|\n| Acétone | oui | K1 |\n| Glycérine | non | K4 |\n| Toluène | oui | K2 |",
    ),
    (
        "Вещества",
        "| Вещество | Горючее | Шкаф |\n|---|---|---|\n| Ацетон | да | K1 |\n| Глицерин | нет | K4 |\n| Толуол | да | K2 |",
    ),
    (
        "Maddeler",
        "| Madde | Yanıcı | Dolap |\n|---|---|---|\n| Aseton | evet | K1 |\n| Gliserin | hayır | K4 |\n| Toluen | evet | K2 |",
    ),
    (
        "物质",
        "| 物质 | 易燃 | 柜子 |\n|---|---|---|\n| 丙酮 | 是 | K1 |\n| 甘油 | 否 | K4 |\n| 甲苯 | 是 | K2 |",
    ),
    (
        "薬品",
        "| 薬品 | 可燃性 | 棚 |\n|---|---|---|\n| アセトン | はい | K1 |\n| グリセリン | いいえ | K4 |\n| トルエン | はい | K2 |",
    ),
];

#[test]
fn rows_say_yes_and_no_in_other_languages() {
    check(
        SUBSTANCES_ABROAD,
        &[
            (
                "Ist Glycerin brennbar?",
                "Ja, Glycerin ist brennbar.",
                Opposite,
            ),
            (
                "Ist Glycerin brennbar?",
                "Nein, Glycerin ist nicht brennbar.",
                Supported,
            ),
            (
                "Ist Aceton brennbar?",
                "Ja, Aceton ist brennbar.",
                Supported,
            ),
            (
                "La glycérine est-elle inflammable ?",
                "Oui, la glycérine est inflammable.",
                Opposite,
            ),
            (
                "La glycérine est-elle inflammable ?",
                "Non, la glycérine n'est pas inflammable.",
                Supported,
            ),
            (
                "Горючее ли вещество глицерин?",
                "Да, глицерин горючее вещество.",
                Opposite,
            ),
            ("Горючее ли вещество глицерин?", "Нет.", Supported),
            ("Gliserin yanıcı mı?", "Evet, gliserin yanıcı.", Opposite),
            (
                "Gliserin yanıcı mı?",
                "Hayır, gliserin yanıcı değil.",
                Supported,
            ),
            ("甘油易燃吗？", "是的，甘油易燃。", Opposite),
            ("甘油易燃吗？", "不是，甘油不易燃。", Supported),
            ("丙酮易燃吗？", "是的，丙酮易燃。", Supported),
            (
                "グリセリンは可燃性ですか？",
                "はい、グリセリンは可燃性です。",
                Opposite,
            ),
            (
                "グリセリンは可燃性ですか？",
                "いいえ、グリセリンは可燃性ではありません。",
                Supported,
            ),
        ],
    );
}

const NEGATIONS: Passages = &[
    (
        "Versicherung",
        "Die Versicherung deckt Zahnersatz nicht. Brillen werden von der Versicherung bezahlt.",
    ),
    (
        "Assurance",
        "L'assurance ne couvre pas les soins dentaires. Les lunettes sont couvertes par l'assurance.",
    ),
    (
        "Seguro",
        "El seguro no cubre los dientes. Las gafas están cubiertas por el seguro de la empresa.",
    ),
    (
        "Verzekering",
        "De verzekering dekt tandartskosten niet. Brillen worden door de verzekering vergoed.",
    ),
    (
        "Страховка",
        "Страховка не покрывает лечение зубов. Очки оплачивает страховка.",
    ),
    (
        "Pojištění",
        "Pojištění nehradí zubní náhrady. Brýle hradí pojištění od roku smlouvy.",
    ),
    ("保险", "保险不包括牙科治疗。眼镜由保险支付。"),
    (
        "保険",
        "歯科治療は保険の対象ではありません。眼鏡は保険の対象です。",
    ),
    (
        "Seguro de saúde",
        "O seguro não cobre tratamento dentário. O prazo está no contrato.",
    ),
];

#[test]
fn denials_are_heard_in_other_languages() {
    check(
        NEGATIONS,
        &[
            (
                "Deckt die Versicherung Zahnersatz?",
                "Ja, die Versicherung deckt Zahnersatz.",
                Opposite,
            ),
            (
                "Deckt die Versicherung Zahnersatz?",
                "Nein, die Versicherung deckt Zahnersatz nicht.",
                Supported,
            ),
            (
                "Deckt die Versicherung Zahnersatz?",
                "Zahnersatz deckt die Versicherung nicht.",
                Supported,
            ),
            (
                "L'assurance couvre-t-elle les soins dentaires ?",
                "Oui, l'assurance couvre les soins dentaires.",
                Opposite,
            ),
            (
                "L'assurance couvre-t-elle les soins dentaires ?",
                "Non, l'assurance ne couvre pas les soins dentaires.",
                Supported,
            ),
            (
                "¿Cubre el seguro los dientes?",
                "Sí, el seguro cubre los dientes.",
                Opposite,
            ),
            (
                "¿Cubre el seguro los dientes?",
                "No, el seguro no cubre los dientes.",
                Supported,
            ),
            (
                "Dekt de verzekering tandartskosten?",
                "Ja, de verzekering dekt tandartskosten.",
                Opposite,
            ),
            (
                "Покрывает ли страховка лечение зубов?",
                "Да, страховка покрывает лечение зубов.",
                Opposite,
            ),
            (
                "Покрывает ли страховка лечение зубов?",
                "Нет, страховка не покрывает лечение зубов.",
                Supported,
            ),
            (
                "Hradí pojištění zubní náhrady?",
                "Ano, pojištění hradí zubní náhrady.",
                Opposite,
            ),
            (
                "Hradí pojištění zubní náhrady?",
                "Ne, pojištění zubní náhrady nehradí.",
                Supported,
            ),
            ("保险包括牙科治疗吗？", "是的，保险包括牙科治疗。", Opposite),
            (
                "保险包括牙科治疗吗？",
                "不，保险不包括牙科治疗。",
                Supported,
            ),
            (
                "歯科治療は保険の対象ですか？",
                "はい、歯科治療は保険の対象です。",
                Opposite,
            ),
            (
                "O seguro cobre tratamento dentário?",
                "Sim, o seguro cobre tratamento dentário.",
                Opposite,
            ),
            ("Onde está o prazo?", "O prazo está no contrato.", Supported),
        ],
    );
}

const PUMPS: Passages = &[
    (
        "Pump P5",
        "The tightening torque of the cover screws is 35 Nm. The pump weighs 4.5 kg and runs for at most 30 minutes without cooling.",
    ),
    (
        "Pump P50",
        "The tightening torque of the cover screws is 85 Nm. The pump weighs 45 kg and runs for at most 300 minutes without cooling.",
    ),
    (
        "Fans",
        "Fan F-20 turns 900 times a minute. Fan F-21 turns 1200 times a minute. Room 12 has a fan, room 14 has a heater.",
    ),
    (
        "Leave policy 2024",
        "Every employee has 28 days of paid leave. Five days may be carried over.",
    ),
    (
        "Office Aarhus",
        "The office in Aarhus is at 12 Havnegade. It is open from Monday to Friday.",
    ),
];

#[test]
fn a_value_belongs_to_the_entity_of_the_question() {
    check(
        PUMPS,
        &[
            (
                "What is the tightening torque of pump P5?",
                "The tightening torque of pump P5 is 35 Nm.",
                Supported,
            ),
            (
                "What is the tightening torque of pump P5?",
                "The tightening torque is 35 Nm.",
                Supported,
            ),
            (
                "What is the tightening torque of pump P5?",
                "The tightening torque is 85 Nm.",
                OtherEntity,
            ),
            (
                "What is the tightening torque of pump P7?",
                "The tightening torque of pump P7 is 35 Nm.",
                OtherEntity,
            ),
            (
                "What is the tightening torque of pump P7?",
                "The tightening torque is 35 Nm.",
                OtherEntity,
            ),
            (
                "What is the torque of pump p50?",
                "The tightening torque of the cover screws is 85 Nm.",
                Supported,
            ),
            (
                "What are the torques of P5 and P50?",
                "The tightening torque of P50 is 85 Nm.",
                Supported,
            ),
            (
                "What are the torques of P5 and P50?",
                "The tightening torque of P50 is 35 Nm.",
                OtherEntity,
            ),
            (
                "How often does F-20 turn?",
                "F-20 turns 900 times a minute.",
                Supported,
            ),
            (
                "How often does F-20 turn?",
                "It turns 1200 times a minute.",
                OtherEntity,
            ),
            (
                "How often does F-22 turn?",
                "F-22 turns 1200 times a minute.",
                OtherEntity,
            ),
            ("What is in room 12?", "Room 12 has a fan.", Supported),
            ("What is in room 13?", "Room 13 has a fan.", OtherEntity),
            (
                "How much leave was there in 2024?",
                "Every employee has 28 days of paid leave.",
                Supported,
            ),
            (
                "How much leave was there in 2025?",
                "Every employee has 28 days of paid leave.",
                OtherEntity,
            ),
            (
                "Where is the office in Aarhus?",
                "The office in Aarhus is at 12 Havnegade.",
                Supported,
            ),
            (
                "Where is the office in Oslo?",
                "The office in Oslo is at 12 Havnegade.",
                OtherEntity,
            ),
        ],
    );
}

const PARTS: Passages = &[(
    "Parts catalogue",
    "| Part | Kind | Details | Place |\n|---|---|---|---|\n| AX-4410/B | sealing ring | Viton, 40 x 3 mm | shelf 12 |\n\
     | AX-4401/B | sealing ring | NBR, 44 x 3 mm | shelf 07 |\n| AX-4041/B | shaft coupling | steel, 14 mm | shelf 19 |\n\
     | AX-4401/C | hose clamp | EPDM, 45 mm | shelf 31 |",
)];

#[test]
fn a_row_answers_only_what_it_has_a_column_for() {
    check(
        PARTS,
        &[
            (
                "What does AX-4401/B cost?",
                "The cost of AX-4401/B is NBR, 44 x 3 mm.",
                OtherFact,
            ),
            (
                "What does part AX-4401/B cost?",
                "AX-4401/B is NBR, 44 x 3 mm.",
                OtherFact,
            ),
            (
                "Who delivers AX-4401/B?",
                "AX-4401/B is delivered by NBR.",
                OtherFact,
            ),
            (
                "What does the sealing ring AX-4401/B cost?",
                "The sealing ring AX-4401/B costs NBR, 44 x 3 mm.",
                OtherFact,
            ),
            (
                "What kind of part is AX-4401/B?",
                "AX-4401/B is a sealing ring.",
                Supported,
            ),
            (
                "What kind of part is AX-4401/C?",
                "AX-4401/C is a sealing ring.",
                Unsupported,
            ),
            (
                "What kind of part is AX-4401/B?",
                "AX-4401/B is on shelf 07.",
                OtherFact,
            ),
            (
                "On which shelf is AX-4401/B?",
                "AX-4401/B is on shelf 07.",
                Supported,
            ),
            (
                "On which shelf is AX-4401/B?",
                "AX-4401/B is on shelf 12.",
                Unsupported,
            ),
            (
                "Where is AX-4401/B?",
                "AX-4401/B is on shelf 07.",
                Supported,
            ),
            (
                "What is AX-4401/B?",
                "AX-4401/B is a sealing ring of NBR, 44 x 3 mm.",
                Supported,
            ),
            (
                "What is AX-4402/B?",
                "AX-4402/B is a sealing ring of NBR, 44 x 3 mm.",
                OtherEntity,
            ),
        ],
    );
}

#[test]
fn scripts_without_spaces_are_compared_fairly() {
    const LEASE: Passages = &[
        (
            "仓库租赁合同",
            "租赁期限为三年，自2025年5月1日起计算。每月租金为两万四千元，押金为五万元。\n\n承租人应当每季度检查一次消防设备，并将记录保存两年。",
        ),
        (
            "倉庫",
            "点検は毎月第一月曜日に行います。鍵は守衛室に保管されています。",
        ),
        ("คลังสินค้า", "ค่าเช่ารายเดือนคือ 24000 บาท เงินประกันคือ 50000 บาท"),
    ];
    check(
        LEASE,
        &[
            ("押金是多少？", "押金是五万元。", Supported),
            ("押金是多少？", "押金为五万元。", Supported),
            ("押金是多少？", "押金是50000元。", Supported),
            ("押金是多少？", "押金是三万元。", Unsupported),
            ("押金是多少？", "押金是五千元。", Unsupported),
            ("每月租金是多少？", "每月的租金是两万四千元。", Supported),
            ("租期多长？", "租赁期限是三年。", Supported),
            ("租期多长？", "租赁期限是五年。", Unsupported),
            ("记录要保存多久？", "记录应保存两年。", Supported),
            (
                "多久检查一次消防设备？",
                "每季度检查一次消防设备。",
                Supported,
            ),
            (
                "点検はいつですか？",
                "点検は毎月第一月曜日です。",
                Supported,
            ),
            (
                "鍵はどこにありますか？",
                "鍵は守衛室にあります。",
                Supported,
            ),
            (
                "鍵はどこにありますか？",
                "鍵は事務所にあります。",
                Unsupported,
            ),
            ("เงินประกันเท่าไร", "เงินประกันคือ 50000 บาท", Supported),
            ("เงินประกันเท่าไร", "เงินประกันคือ 60000 บาท", Unsupported),
        ],
    );
}

#[test]
fn a_list_is_supported_by_as_many_quotes_as_it_takes() {
    const OFFICES: Passages = &[
        ("Office Aarhus", "The office in Aarhus is at 12 Havnegade."),
        ("Office Bremen", "The office in Bremen is at 4 Am Wall."),
        ("Office Cork", "The office in Cork is at 31 Patrick Street."),
        ("Office Delft", "The office in Delft is at 7 Markt."),
    ];
    check(
        OFFICES,
        &[
            (
                "Which offices are there?",
                "The offices are in Aarhus, Bremen and Cork.",
                SupportedBy(3),
            ),
            (
                "Which offices are there?",
                "The offices are in Aarhus, Bremen, Cork and Delft.",
                SupportedBy(4),
            ),
            (
                "Which offices are there?",
                "The offices are in Aarhus, Bremen, Cork and Oslo.",
                Unsupported,
            ),
        ],
    );
}

#[test]
fn forms_without_a_header_read_key_and_value() {
    const FORM: Passages = &[(
        "Data sheet glycerine",
        "| Flammable | no |\n| Boiling point | 290 °C |\n| Supplier | Norchem |",
    )];
    check(
        FORM,
        &[
            (
                "Is glycerine flammable?",
                "Yes, glycerine is flammable.",
                Opposite,
            ),
            (
                "Is glycerine flammable?",
                "No, glycerine is not flammable.",
                Supported,
            ),
            (
                "What is the boiling point?",
                "The boiling point is 290 °C.",
                Supported,
            ),
            (
                "Who is the supplier?",
                "The supplier is Norchem.",
                Supported,
            ),
        ],
    );
}

const HOLIDAYS: Passages = &[(
    "Working time",
    "The company closes between 24 December and 1 January. Overtime has to be approved within 30 minutes by the team lead. \
     The deposit is 500 euros and is paid back after 12 months.",
)];

#[test]
fn a_number_counts_what_it_counts_in_the_source() {
    check(
        HOLIDAYS,
        &[
            (
                "How long is the company closed?",
                "The company closes for 24 days.",
                Unsupported,
            ),
            (
                "For how many days does the company close?",
                "It closes for 24 days.",
                Unsupported,
            ),
            (
                "From when is the company closed?",
                "It closes on 24 December.",
                Supported,
            ),
            (
                "From when is the company closed?",
                "The company closes from the 24th.",
                Supported,
            ),
            (
                "Within how many days does the team lead approve overtime?",
                "Overtime has to be approved within 30 days.",
                Unsupported,
            ),
            (
                "How fast does the team lead approve overtime?",
                "Overtime has to be approved within 30 minutes.",
                Supported,
            ),
            (
                "How much is the deposit?",
                "The deposit is $500.",
                Unsupported,
            ),
            (
                "How much is the deposit?",
                "The deposit is €500.",
                Supported,
            ),
            (
                "When is the deposit paid back?",
                "The deposit is paid back after 12 weeks.",
                Unsupported,
            ),
        ],
    );
}

const HOUSE_RULES: Passages = &[
    (
        "Parking and lockers",
        "Surgeons may park in the courtyard, visitors may not. Bay 7 is reserved for returns, bay 8 is not. \
         Antibiotics must be refrigerated, ibuprofen does not have to be.",
    ),
    (
        "Sicherheit",
        "Mitarbeiter tragen einen Helm, Besucher tragen keinen.",
    ),
    (
        "House rules",
        "Smoking is prohibited in the rooms. Dogs are allowed in all rooms except the suites. \
         The freezer runs at −20 °C. Guests may use the sauna only after 16:00.",
    ),
];

#[test]
fn a_denial_without_its_verb_denies_what_it_stands_behind() {
    check(
        HOUSE_RULES,
        &[
            (
                "May visitors park in the courtyard?",
                "Yes, visitors may park in the courtyard.",
                Opposite,
            ),
            (
                "May visitors park in the courtyard?",
                "No, visitors may not park in the courtyard.",
                Supported,
            ),
            (
                "May surgeons park in the courtyard?",
                "Yes, surgeons may park in the courtyard.",
                Supported,
            ),
            (
                "Which bay is reserved for returns?",
                "Bay 8 is reserved for returns.",
                Unsupported,
            ),
            (
                "Which bay is reserved for returns?",
                "Bay 7 is reserved for returns.",
                Supported,
            ),
            (
                "Does ibuprofen have to be refrigerated?",
                "Yes, ibuprofen must be refrigerated.",
                Opposite,
            ),
            (
                "Tragen Besucher einen Helm?",
                "Ja, Besucher tragen einen Helm.",
                Opposite,
            ),
            (
                "Tragen Besucher einen Helm?",
                "Nein, Besucher tragen keinen Helm.",
                Supported,
            ),
        ],
    );
}

#[test]
fn a_yes_does_not_stand_beside_what_forbids_or_excludes() {
    check(
        HOUSE_RULES,
        &[
            (
                "Is smoking allowed in the rooms?",
                "Yes, smoking is allowed in the rooms.",
                Opposite,
            ),
            (
                "Is smoking allowed in the rooms?",
                "No, smoking is prohibited in the rooms.",
                Supported,
            ),
            (
                "Are dogs allowed in the suites?",
                "Yes, dogs are allowed in the suites.",
                Opposite,
            ),
            (
                "May guests use the sauna after 16:00?",
                "Yes, guests may use the sauna after 16:00.",
                Supported,
            ),
            (
                "At what temperature does the freezer run?",
                "The freezer runs at 20 °C.",
                Unsupported,
            ),
            (
                "At what temperature does the freezer run?",
                "The freezer runs at -20 °C.",
                Supported,
            ),
        ],
    );
}

const ROOMS: Passages = &[(
    "Rates",
    "| Room | Size | Rate | Bath tub |\n|---|---|---|---|\n| 204 | 21 m² | 175 EUR | yes |\n| 205 | 18 m² | 140 EUR | no |\n\
     | 318 | 30 m² | 220 EUR | yes |",
)];

#[test]
fn rows_whose_key_is_a_number_are_named_by_the_head_and_the_number() {
    check(
        ROOMS,
        &[
            (
                "What is the rate of room 204?",
                "The rate of room 204 is 175 EUR.",
                Supported,
            ),
            (
                "What is the rate of room 204?",
                "The rate of room 204 is 140 EUR.",
                Unsupported,
            ),
            (
                "Does room 205 have a bath tub?",
                "Yes, room 205 has a bath tub.",
                Opposite,
            ),
            (
                "Does room 204 have a bath tub?",
                "Yes, room 204 has a bath tub.",
                Supported,
            ),
            (
                "What is the rate of room 206?",
                "The rate of room 206 is 175 EUR.",
                OtherEntity,
            ),
        ],
    );
}

const HOURS: Passages = &[
    (
        "Opening hours",
        "The office in Kiel opens at 8:00. The office in Cork opens at 9:30. Both are closed on Sundays. \
         The office in Lyon opens at 7:45.",
    ),
    (
        "Kündigungsfristen",
        "Die Kündigungsfrist für Angestellte beträgt drei Monate, in der Probezeit 14 Tage. \
         Der Zuschuss für Brillen beträgt 150 Euro. Der Zuschuss für Fahrkarten beträgt 49 Euro.",
    ),
];

#[test]
fn parallel_sentences_are_about_different_things() {
    check(
        HOURS,
        &[
            (
                "When does the office in Cork open?",
                "The office in Cork opens at 9:30.",
                Supported,
            ),
            (
                "When does the office in Cork open?",
                "The office in Cork opens at 8:00.",
                OtherEntity,
            ),
            (
                "When does the office in Cork open?",
                "It opens at 7:45.",
                OtherEntity,
            ),
            (
                "When do the offices open?",
                "The office in Kiel opens at 8:00, the one in Cork at 9:30.",
                Supported,
            ),
            (
                "When do the offices in Kiel and Cork open?",
                "The office in Kiel opens at 8:00, the one in Cork at 9:30.",
                Supported,
            ),
            (
                "When is the office in Cork closed?",
                "The office in Cork is closed on Sundays.",
                Supported,
            ),
            (
                "Wie hoch ist der Zuschuss für Fahrkarten?",
                "Der Zuschuss für Fahrkarten beträgt 49 Euro.",
                Supported,
            ),
            (
                "Wie hoch ist der Zuschuss für Fahrkarten?",
                "Der Zuschuss für Fahrkarten beträgt 150 Euro.",
                OtherEntity,
            ),
            (
                "Wie hoch ist der Zuschuss für Brillen?",
                "Er beträgt 150 Euro.",
                Supported,
            ),
        ],
    );
}

const REQUESTS: Passages = &[
    (
        "Laboratory",
        "Samples cannot be returned. Helmets are mandatory in hall 1 but not in hall 2. We do not offer rooms, but we offer lunch.",
    ),
    (
        "Expenses",
        "Meals of a journey are reimbursed up to 42 EUR a day. Alcohol is not reimbursed.",
    ),
    (
        "Tools",
        "| Tool no. | Tool | Obsolete | Place |\n|---|---|---|---|\n| 10459 | Reamer, approx. 8 mm | no | Cabinet 5 |\n| 10460 | Tap | yes | Cabinet 6 |",
    ),
    (
        "Compressor C-310",
        "Model: C-310\nOil-free: no\nWeight: 240 kg\nPrice net: 4,900 EUR",
    ),
    (
        "Shifts",
        "| Day | Early shift | Late shift |\n|---|---|---|\n| Monday | Berg | Olsen |\n| Tuesday | Lund | Berg |",
    ),
    (
        "Extensions",
        "| Name | Extension | Reports to |\n|---|---|---|\n| Jun Mori | 4203 | Leila Haddad |\n| Leila Haddad | 4100 | Kim Roe |",
    ),
    (
        "定員",
        "| 部屋 | 定員 |\n|---|---|\n| 松 | 6名 |\n| 竹 | 12名 |",
    ),
];

#[test]
fn short_questions_are_in_the_language_of_their_words() {
    check(
        REQUESTS,
        &[
            (
                "Can samples be returned?",
                "Yes, samples can be returned.",
                Opposite,
            ),
            (
                "Can samples be returned?",
                "No, samples cannot be returned.",
                Supported,
            ),
        ],
    );
}

#[test]
fn clauses_have_polarities_of_their_own_and_a_denial_vetoes() {
    check(
        REQUESTS,
        &[
            (
                "Are helmets mandatory in hall 1?",
                "Helmets are mandatory in hall 1.",
                Supported,
            ),
            (
                "Are helmets mandatory in hall 2?",
                "Yes, helmets are mandatory in hall 2.",
                Opposite,
            ),
            ("Is lunch offered?", "Yes, lunch is offered.", Supported),
            ("Are rooms offered?", "Yes, rooms are offered.", Opposite),
            (
                "Up to how much is alcohol reimbursed?",
                "Alcohol is reimbursed up to 42 EUR.",
                Unsupported,
            ),
            (
                "Up to how much are meals reimbursed?",
                "Meals are reimbursed up to 42 EUR a day.",
                Supported,
            ),
        ],
    );
}

#[test]
fn a_head_with_a_number_sign_denies_nothing_and_a_row_is_whole() {
    check(
        REQUESTS,
        &[
            (
                "Where is tool 10459?",
                "Tool 10459 is in Cabinet 5.",
                Supported,
            ),
            (
                "Is tool 10460 obsolete?",
                "No, tool 10460 is not obsolete.",
                Opposite,
            ),
            (
                "Is tool 10459 obsolete?",
                "Yes, tool 10459 is obsolete.",
                Opposite,
            ),
        ],
    );
}

#[test]
fn lines_of_key_and_value_are_rows() {
    check(
        REQUESTS,
        &[
            (
                "Is the C-310 oil-free?",
                "Yes, the C-310 is oil-free.",
                Opposite,
            ),
            (
                "Is the C-310 oil-free?",
                "No, the C-310 is not oil-free.",
                Supported,
            ),
            (
                "What is the weight of the C-310?",
                "The weight of the C-310 is 240 kg.",
                Supported,
            ),
            (
                "What is the price of the C-310?",
                "The price of the C-310 is 240 kg.",
                Unsupported,
            ),
        ],
    );
}

#[test]
fn cells_are_of_the_best_named_column_and_of_their_own_row() {
    check(
        REQUESTS,
        &[
            (
                "Who has the late shift on Monday?",
                "Olsen has the late shift on Monday.",
                Supported,
            ),
            (
                "Who has the late shift on Monday?",
                "Berg has the late shift on Monday.",
                Unsupported,
            ),
            (
                "What is the extension of Leila Haddad?",
                "The extension of Leila Haddad is 4100.",
                Supported,
            ),
            (
                "What is the extension of Leila Haddad?",
                "The extension of Leila Haddad is 4203.",
                Unsupported,
            ),
            ("竹の定員は何名ですか？", "竹の定員は12名です。", Supported),
            ("竹の定員は何名ですか？", "竹の定員は6名です。", Unsupported),
            (
                "In which cabinet is ethanol?",
                "Ethanol is in Cabinet 5.",
                Unsupported,
            ),
        ],
    );
}

#[test]
fn a_yes_is_heard_wherever_it_stands() {
    check(
        SUBSTANCES,
        &[
            ("Is glycerol flammable?", "Yes it is.", Opposite),
            ("Is glycerol flammable?", "The answer is yes.", Opposite),
            ("Is glycerol flammable?", "Glycerol: yes", Opposite),
            ("Is glycerol flammable?", "| Glycerol | yes |", Opposite),
            ("Is glycerol flammable?", "Glycerol: no", Supported),
            ("Is acetone flammable?", "The answer is yes.", Supported),
        ],
    );
}

/// A document of two sections whose title is the heading of the first.
fn two_sections(first: (&str, &str), second: (&str, &str)) -> Vec<ContextPassage> {
    let text = format!("{}\n\n{}\n\n{}\n\n{}", first.0, first.1, second.0, second.1);
    let mut context = context(&[(first.0, text.as_str())]);
    let passage = &mut context[0];
    let at = text.find(&format!("\n\n{}\n\n", second.0)).unwrap() + 2;
    let at = text[..at].chars().count();
    let section = |start: usize, heading: &str| Section {
        start: passage.start + start,
        heading: vec![heading.to_owned()],
    };
    passage.sections = vec![section(0, first.0), section(at, second.0)];
    passage.title_is_heading = true;
    context
}

#[test]
fn what_stands_below_another_heading_is_about_something_else() {
    let contracts = two_sections(
        (
            "Contract with Norvik Ltd",
            "The contract with Norvik Ltd began on 1 March 2022. The notice period is six months. Norvik cleans the windows.",
        ),
        (
            "Contract with Norwick GmbH",
            "The contract with Norwick GmbH began on 1 July 2023. The notice period is three months. Norwick maintains the lifts.",
        ),
    );
    let halls = two_sections(
        (
            "Hall A",
            "Capacity: 120 persons\nProjector: no\nWheelchair access: yes",
        ),
        (
            "Hall B",
            "Capacity: 45 persons\nProjector: yes\nWheelchair access: no",
        ),
    );
    check_in(
        &contracts,
        &[
            (
                "Does the notice period of the Norvik contract last three months?",
                "Yes.",
                Unsupported,
            ),
            (
                "Does the notice period of the Norvik contract last six months?",
                "Yes.",
                Supported,
            ),
            (
                "How long is the notice period of the Norvik contract?",
                "The notice period is three months.",
                Unsupported,
            ),
            (
                "How long is the notice period of the Norwick contract?",
                "The notice period is three months.",
                Supported,
            ),
            (
                "Does Norvik maintain the lifts?",
                "Yes, Norvik maintains the lifts.",
                Unsupported,
            ),
            (
                "Does Norwick maintain the lifts?",
                "Yes, Norwick maintains the lifts.",
                Supported,
            ),
        ],
    );
    check_in(
        &halls,
        &[
            ("Does Hall A have a projector?", "Yes.", Unsupported),
            ("Does Hall B have a projector?", "Yes.", Supported),
            ("Is Hall B accessible by wheelchair?", "Yes.", Unsupported),
            ("How many people fit in Hall C?", "45 persons.", Unsupported),
            (
                "What is the capacity of Hall C?",
                "The capacity is 45 persons.",
                Unsupported,
            ),
            (
                "What is the capacity of Hall B?",
                "The capacity is 45 persons.",
                Supported,
            ),
        ],
    );
}

#[test]
fn what_another_section_says_of_the_same_thing_is_of_another_time_or_person() {
    let minutes = two_sections(
        (
            "Meeting of 12 March 2025",
            "The new roof was approved. The purchase of a second van was rejected. Ferrer resigned as treasurer; Zuber was elected treasurer.",
        ),
        (
            "Meeting of 14 May 2025",
            "The purchase of a second van was approved at 31,000 euros.",
        ),
    );
    check_in(
        &minutes,
        &[
            (
                "Was the purchase of a second van approved on 12 March 2025?",
                "Yes.",
                Unsupported,
            ),
            (
                "Was the purchase of a second van approved on 14 May 2025?",
                "Yes.",
                Supported,
            ),
            (
                "Was Ferrer elected treasurer?",
                "Ferrer was elected treasurer.",
                Unsupported,
            ),
            (
                "Was Zuber elected treasurer?",
                "Zuber was elected treasurer.",
                Supported,
            ),
        ],
    );
}

const SHEETS: Passages = &[
    (
        "sheet.txt",
        "Data sheet\nProduct: Lantern L20\nBattery: lithium-ion\nWaterproof: no\nWeight: 310 g\nWarranty: 24 months\n\n\
         Product: Lantern L25\nBattery: NiMH\nWaterproof: yes\nWeight: 265 g\nWarranty: 36 months",
    ),
    (
        "Compressor K3",
        "| Property | Value |\n|---|---|\n| Maker | Haldor |\n| Suitable for outdoor use | no |\n| Noise level | 72 dB(A) |",
    ),
    (
        "Fittings",
        "| Part no. | Description | Material | Stock |\n|---|---|---|---|\n| VX-10629-B | cap 28 mm | brass | 41 |\n\
         | VX-10630-B | cap 28 mm | steel | 12 |",
    ),
    (
        "Staff",
        "| Name | Role | Room |\n|---|---|---|\n| Anna Bergmann | accounting | 310 |\n| Karl Ott | safety officer | 112 |\n\
         | Lea Otte | first aid | 113 |",
    ),
    (
        "Boilers and buses",
        "Boiler B1 stands in cellar 2. Boiler B2 stands on the roof. Line 14 runs every 20 minutes. Line 41 runs every 45 minutes. \
         Only Mr. Sand has the key to the boiler room. \
         Visitors park on deck B. Parking on deck A is reserved for staff.",
    ),
];

#[test]
fn an_affirmation_is_not_put_together_from_what_does_not_belong_together() {
    check(
        SHEETS,
        &[
            ("Is lantern L20 waterproof?", "Yes.", Unsupported),
            ("Is lantern L25 waterproof?", "Yes.", Supported),
            (
                "Does the warranty of lantern L20 last 36 months?",
                "Yes.",
                Unsupported,
            ),
            (
                "What is the weight of lantern L20?",
                "The weight is 310 g.",
                Supported,
            ),
            (
                "Is compressor K3 suitable for outdoor use?",
                "Compressor K3 is suitable for outdoor use.",
                Unsupported,
            ),
            ("Is VX-10629-B made of steel?", "Yes.", Unsupported),
            ("Is VX-10630-B made of steel?", "Yes.", Supported),
            (
                "Is Karl Ott responsible for first aid?",
                "Yes.",
                Unsupported,
            ),
            (
                "In which room is Karl Bergmann?",
                "Karl Bergmann is in room 112.",
                Unsupported,
            ),
            (
                "In which room is Karl Ott?",
                "Karl Ott is in room 112.",
                Supported,
            ),
            ("Does line 14 run every 45 minutes?", "Yes.", Unsupported),
            ("Does line 41 run every 45 minutes?", "Yes.", Supported),
            ("Does boiler B1 stand on the roof?", "Yes.", Unsupported),
            ("Does boiler B1 stand in the key room?", "Yes.", Unsupported),
            (
                "How much does compressor K3 weigh?",
                "Compressor K3 weighs 72 dB.",
                Unsupported,
            ),
            ("Does boiler B2 stand on the roof?", "Yes.", Supported),
            (
                "May visitors park on deck A?",
                "Visitors may park on deck A.",
                Unsupported,
            ),
            (
                "May visitors park on deck B?",
                "Visitors may park on deck B.",
                Supported,
            ),
        ],
    );
}
