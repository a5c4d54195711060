/** How a field is asked for, and what is taken for its value (contract P2.3). */
export type FieldType = 'string' | 'password' | 'int' | 'bool' | 'textarea' | 'enum' | 'multi_enum';

/** One field of the form by which a service is configured. */
export interface ServiceField {
  readonly key: string;
  readonly label: string;
  readonly type: FieldType;
  readonly default: string | number | boolean | readonly string[] | null;
  /** Whether it is kept from onlookers. */
  readonly secret: boolean;
  readonly help: string | null;
  /** What may be chosen, of the two types that offer a choice. */
  readonly enum: readonly string[] | null;
  readonly placeholder: string | null;
}

type Details = Partial<Omit<ServiceField, 'key' | 'label' | 'type'>>;

const field = (type: FieldType, key: string, label: string, details: Details = {}): ServiceField => ({
  key,
  label,
  type,
  default: null,
  secret: false,
  help: null,
  enum: null,
  placeholder: null,
  ...details,
});
const text = (key: string, label: string, details?: Details) => field('string', key, label, details);
const int = (key: string, label: string, fallback: number) => field('int', key, label, { default: fallback });
const bool = (key: string, label: string) => field('bool', key, label, { default: false });
const area = (key: string, label: string, details?: Details) => field('textarea', key, label, details);
const password = (key: string, label: string) => field('password', key, label, { default: 'admin', secret: true });
const choice = (key: string, label: string, values: readonly [string, ...string[]]) =>
  field('enum', key, label, { default: values[0], enum: values });

const SHELL: readonly ServiceField[] = [
  password('password', 'Root password'),
  text('user', 'Second user', { default: 'ubuntu' }),
  password('user_password', 'Password of the second user'),
  text('hostname', 'Host name', { help: 'What the prompt shows' }),
];

const web = (versions: readonly string[]): readonly ServiceField[] => [
  text('server_header', 'Server header', { placeholder: 'Apache/2.4.57 (Debian)' }),
  int('response_code', 'Status code', 200),
  choice('fake_app', 'Application', ['none', 'wordpress', 'phpmyadmin', 'tomcat', 'jenkins']),
  area('extra_headers', 'Further headers', { placeholder: 'X-Powered-By: PHP/8.2' }),
  area('custom_body', 'Page', { help: 'HTML that every path answers with' }),
  field('multi_enum', 'http_versions', 'HTTP versions', { default: ['http/1.1'], enum: versions }),
];

const MAIL: readonly ServiceField[] = [
  text('banner', 'Greeting', { placeholder: '220 mail.example.net ESMTP' }),
  choice('mta', 'Mail server', ['postfix', 'exim', 'sendmail']),
];

/** The fields of services that have any. */
export const FIELDS: Readonly<Record<string, readonly ServiceField[]>> = {
  ssh: SHELL,
  telnet: SHELL,
  http: web(['http/1.1', 'http/2']),
  https: [
    ...web(['http/1.1', 'http/2', 'http/3']),
    text('tls_cn', 'Common name', { placeholder: 'portal.example.net' }),
    area('tls_cert', 'Certificate', { secret: true, help: 'PEM; without one it is made at the start' }),
    area('tls_key', 'Private key', { secret: true, help: 'PEM' }),
  ],
  smtp: MAIL,
  smtp_relay: [
    ...MAIL,
    text('upstream_host', 'Upstream host'),
    int('upstream_port', 'Upstream port', 25),
    text('upstream_user', 'Upstream user'),
    text('upstream_pass', 'Upstream password', { secret: true }),
    text('upstream_sender', 'Upstream sender'),
    int('probe_limit', 'Probes passed on', 1),
  ],
  dns: [
    choice('zone_mode', 'Mode', ['auth', 'recursive', 'open']),
    text('domain', 'Domain', { placeholder: 'example.net' }),
    text('bind_version', 'Version told'),
    text('nsid', 'Name server id'),
    text('extra_records', 'Further records'),
    bool('real_recursive', 'Really resolve'),
    text('upstream', 'Upstream', { default: '8.8.8.8:53' }),
    text('forward_budget', 'Queries passed on', { default: '50' }),
    text('forward_window', 'Within seconds', { default: '1.0' }),
    text('state_path', 'State file'),
  ],
  mysql: [text('version', 'Version told')],
  redis: [text('version', 'Version told'), text('os_string', 'Operating system told')],
  rdp: [bool('nla', 'Network level authentication')],
};
